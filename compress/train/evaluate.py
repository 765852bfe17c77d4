"""Accuracy of a model on labelled batches."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def accuracy(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Fraction of images whose largest logit is their label's, in evaluation mode and full precision.

    Args:
        model: maps images [N, C, H, W] to logits [N, classes]; its mode is as before afterwards.
        batches: of images and labels [N], on the model's device.
    """
    training = model.training
    model.eval()
    hits = [model(images).argmax(1) == labels for images, labels in batches]
    model.train(training)
    return torch.cat(hits).float().mean().item()
