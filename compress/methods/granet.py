"""GraNet: Liu et al., "Sparse Training via Boosting Pruning Plasticity with Neuroregeneration", NeurIPS 2021."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compress.methods.base import METHODS
from compress.methods.gradual import Magnitude, OnWeights, smallest

REBORN = (0.5, 0.005)  # share of the weights alive that are exchanged, at the start and at the end


@METHODS.register("granet")
class GraNet(OnWeights, Magnitude):
    """Gradual magnitude pruning of single weights from a dense start, and in every update some are exchanged.

    First the smallest go, over all layers, until the schedule's number is met. Then in each layer a share of
    those alive, annealed by a cosine from 0.5 to 0.005, goes as well, the smallest, and as many of its zeros with the
    largest gradients come back, with the value 0. For what shrink makes of the zeros see `Weights`.
    """

    def updated(self, count: int, kept: Tensor) -> Tensor:
        """Prune, then exchange."""
        mask = super().updated(count, kept)
        high, low = REBORN
        share = low + (high - low) * (1 + math.cos(math.pi * self.step / self.end)) / 2
        parts = (torch.split(each, self.units.sizes) for each in (mask, self.units.magnitude(), self.units.gradient()))
        exchanged = []
        for gone, size, gradient in zip(*parts, strict=True):
            number = min(int(share * int((~gone).sum())), int(gone.sum()))
            back = smallest(-gradient, gone, number)
            exchanged.append((gone & ~back) | smallest(size, ~gone, number))
        return torch.cat(exchanged)
