"""One class per image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.tasks.base import TASKS, Task


@TASKS.register("classification")
class Classification(Task):
    """Cross entropy, and the fraction of the images whose largest logit is their label's."""

    metric = "accuracy"

    @property
    def outputs(self) -> tuple[int, ...]:
        """One logit per class."""
        return (self.spec.classes,)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy over the images, with labels [n] or probabilities [n, classes]."""
        return F.cross_entropy(logits, targets)

    def counts(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Images that are right, and all of them."""
        right = logits.argmax(1) == labels
        return torch.stack([right.sum(), torch.ones_like(right).sum()])

    def score(self, counts: Tensor) -> float:
        """Fraction of the images that are right."""
        right, seen = counts.tolist()
        return float(right / seen)
