"""One class per pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.data.spec import IGNORED
from compress.tasks.base import TASKS, Answers, Task
from runtime.pixels import Pixels, counted


@TASKS.register("segmentation")
class Segmentation(Task):
    """Cross entropy of the pixels, and F1 (Dice), IoU and so on of all pixels of all images together.

    Of two classes the cross entropy is the binary one, of the difference of the logits. Pixels with the label 255 are
    not judged, in training and after it.
    """

    metric = "F1"

    @property
    def outputs(self) -> tuple[int, ...]:
        """One logit per class and pixel."""
        return (self.spec.classes, *self.spec.shape[1:])

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy over all pixels, 0 where nobody judges: so the losses of parts of a batch average."""
        return F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum") / targets.numel()

    def counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The confusion matrix, row by row."""
        judged = labels != IGNORED
        pairs = self.spec.classes * labels[judged] + logits.argmax(1)[judged]
        return torch.bincount(pairs, minlength=self.spec.classes**2)

    def score(self, counts: Tensor) -> float:
        """F1 of the second of two classes, or its mean over the classes."""
        return counted(counts.view(self.spec.classes, -1).cpu().numpy())[self.metric]

    def figures(self, answers: Answers) -> dict[str, float]:
        """Those of `runtime.pixels`, of which the first is the score."""
        return Pixels.pool(
            Pixels.of(logits.cpu().numpy(), labels.cpu().numpy()) for logits, labels in answers
        ).figures()
