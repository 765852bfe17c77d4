"""FGGP: Zhu, Bezek and Goksel, "Fixed-Rate Gradient-First Gradual Pruning", SCIA 2025, arXiv 2411.05500.

The details are those of the authors' code: cubic schedule to 80 % of the steps, candidates at the fixed rate of 50 %,
no regrowth, the first layer not pruned, start dense or from a random mask of density 0.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compress.methods.base import METHODS, OnGroups
from compress.methods.gradual import Gradual, OnWeights, smallest
from compress.methods.weights import Weights

RATE = 0.5  # of the units alive are candidates
DENSITY = 0.5  # of the random first mask


class GradientFirst(Gradual):
    """Of the units alive, the half with the smallest gradients are candidates; of these the smallest go.

    The gradient is that of the current mini-batch alone, as in the source. The magnitude is that after the step; in the
    source it is that before it.
    """

    def updated(self, count: int, kept: Tensor) -> Tensor:
        """Gradient first, magnitude next."""
        alive, more = ~self.mask & ~kept, count - int(self.mask.sum())
        candidates = smallest(self.units.gradient(), alive, max(more, round(RATE * int(alive.sum()))))
        return self.mask | smallest(self.units.magnitude(), candidates, more)


@METHODS.register("fggp")
class FGGP(OnWeights, GradientFirst):
    """FGGP of single weights from a dense start; for what shrink makes of them see `Weights`."""


@METHODS.register("fggp-erk")
class FGGPRandomStart(OnWeights, GradientFirst):
    """FGGP of single weights from a random mask of density 0.5.

    The density of a weight [out, in, kernel...] is proportional to sum(shape) / prod(shape), and 1 at the most (Evci
    et al., "Rigging the Lottery", ICML 2020, section 3). A target below 0.5 is met by the mask alone.
    """

    def first(self) -> Tensor:
        """Random weights, as many in each parameter as the rule says."""
        assert isinstance(self.units, Weights)
        generator = torch.Generator().manual_seed(self.plan.seed)
        begin = min(1 - DENSITY, self.plan.target)
        densities = erdos_renyi([tuple(each.shape) for each in self.units.parameters], 1 - begin)
        masks = []
        for size, density in zip(self.units.sizes, densities, strict=True):
            mask = torch.zeros(size, dtype=torch.bool)
            mask[torch.randperm(size, generator=generator)[: size - max(1, round(density * size))]] = True
            masks.append(mask)
        return torch.cat(masks).to(self.units.parameters[0].device)


@METHODS.register("fggp-groups")
class FGGPGroups(OnGroups, GradientFirst):
    """FGGP lifted to the coupled channel groups that `graph.shrink` can remove; our extension, not the authors'.

    The gradient of a group is the norm of that of its elements.
    """


def erdos_renyi(shapes: list[tuple[int, ...]], density: float) -> list[float]:
    """Density of each weight so that they have ``density`` together."""
    sizes, raw = [math.prod(shape) for shape in shapes], [sum(shape) / math.prod(shape) for shape in shapes]
    dense: set[int] = set()
    while True:
        room = density * sum(sizes) - sum(sizes[i] for i in dense)
        rest = [i for i in range(len(shapes)) if i not in dense]
        factor = room / sum(raw[i] * sizes[i] for i in rest) if rest else 0.0
        over = {i for i in rest if factor * raw[i] > 1}
        if not over:
            return [1.0 if i in dense else factor * raw[i] for i in range(len(shapes))]
        dense |= over
