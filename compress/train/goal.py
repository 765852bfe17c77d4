"""What training minimises: the loss of the task, or what a teacher adds to it.

Source: Luo and Wu, "Neural Network Pruning with Residual-Connections and Limited-Data" (CURL), CVPR 2020, section 4,
and its code.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from compress.tasks import Task
from compress.train.distributed import World
from compress.train.teacher import Teacher

RATE = 1.0  # of refinement


class Goal:
    """The loss of the task, and nothing else."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """Scalar to be minimised.

        Args:
            logits: of the student, [n, classes, ...].
            targets: labels [n, ...], or what was mixed of them.
            images: that the student saw, [n, C, H, W].
        """
        return self.task.loss(logits, targets)

    def counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the task counts on a batch."""
        return self.task.counts(logits, labels)

    def after_backward(self) -> None:
        """The gradients of a step are there."""

    def after_epoch(self) -> None:
        """All images were seen once."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""


class Distilled(Goal):
    """w T^2 KL(teacher || student) + (1 - w) task loss, with softmax(logits / T) of both on the same images.

    Mixed images are mixed for both, and for the task's loss their labels are, too. The KL is a mean over the images, or
    over all pixels that have a label each. Source of the loss: Hinton, Vinyals and Dean, arXiv 1503.02531.

    Args:
        task: of the training.
        teacher: from images to logits.
        weight: w, from 0 to 1.
        temperature: T.
    """

    def __init__(self, task: Task, teacher: Teacher, weight: float, temperature: float) -> None:
        super().__init__(task)
        self.teacher, self.weight, self.temperature = teacher, weight, temperature

    def loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """See the class."""
        taught = divergence(self.teacher(images) / self.temperature, logits / self.temperature)
        return self.weight * self.temperature**2 * taught + (1 - self.weight) * super().loss(logits, targets, images)


class Refined(Goal):
    """w KL(student || softmax(Y_i)) + (1 - w) task loss, where the soft labels Y are trained, too.

    Each step takes Y_i - dL/dY_i for the images i of its batch. Images have no labels here but their numbers i, which
    are rows of two tables.

    Args:
        task: a classification.
        soft: Y, logits [images, classes]; it is changed.
        labels: int64 [images].
        weight: w, from 0 to 1.
        world: the processes: each refines what it sees, and after an epoch all know all.
    """

    def __init__(self, task: Task, soft: Tensor, labels: Tensor, weight: float, world: World) -> None:
        super().__init__(task)
        self.soft, self.labels, self.weight, self.world = soft, labels, weight, world
        self._before = soft.clone()
        self._seen: list[tuple[Tensor, Tensor]] = []

    def loss(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """See the class; ``targets`` are numbers of images."""
        soft = self.soft[targets].requires_grad_()
        self._seen.append((targets, soft))
        return self.weight * divergence(logits, soft) + (1 - self.weight) * self.task.loss(logits, self.labels[targets])

    def counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What the task counts; ``labels`` are numbers of images."""
        return self.task.counts(logits, self.labels[labels])

    def after_backward(self) -> None:
        """Refine the soft labels of a step."""
        for rows, soft in self._seen:
            assert soft.grad is not None
            self.soft[rows] -= RATE * soft.grad / self.world.size  # of a mean over the whole batch, as gradients are
        self._seen.clear()

    def after_epoch(self) -> None:
        """Take over what the other processes have refined."""
        self.soft.copy_(self._before + self.world.sum(self.soft - self._before))
        self._before.copy_(self.soft)

    def state_dict(self) -> dict[str, Any]:
        """The soft labels."""
        return {"soft": self.soft}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.soft.copy_(state["soft"])
        self._before.copy_(self.soft)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)) of logits [n, classes, ...], the mean over all but the classes."""
    first, second = F.log_softmax(teacher, 1), F.log_softmax(student, 1)
    return F.kl_div(second, first, reduction="none", log_target=True).sum(1).mean()
