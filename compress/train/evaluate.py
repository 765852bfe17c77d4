"""What a model answers to labelled batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


@torch.no_grad()
def answers(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels of each batch, in evaluation mode and full precision.

    Args:
        model: maps images [N, C, H, W] to logits [N, classes, ...]; its mode is as before afterwards.
        batches: of images and labels [N, ...], on the model's device.
    """
    training = model.training
    model.eval()
    try:
        for images, labels in batches:
            yield model(images), labels
    finally:
        model.train(training)
