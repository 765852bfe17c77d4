"""Fresh BatchNorm statistics for weights that have just changed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

BATCHES = 50
USUAL = 0.1  # momentum, of PyTorch
FORGOTTEN = 1e-4  # what is left of older statistics


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace all running means and variances by their plain average over the first 50 training batches.

    No weight changes. Momentum, mode and weights of the model are as before afterwards.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    training = model.training
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for the cumulative average
    model.train()
    for images, _ in islice(batches, BATCHES):
        model(images)
    model.train(training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def lags(model: nn.Module, steps: int) -> bool:
    """Whether running statistics still know, after ``steps`` steps, what had been before, by an unusually low momentum.

    Zeros and small scales change variances by orders of magnitude, so that a little of the old ones outweighs the new.
    MobileNetV3 has a momentum of 0.01.
    """
    momenta = [module.momentum for module in model.modules() if isinstance(module, _BatchNorm)]
    return any(each is not None and each < USUAL and (1 - each) ** steps > FORGOTTEN for each in momenta)
