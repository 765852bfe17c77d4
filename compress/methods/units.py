"""What a method makes zero or leaves alive, as one: BatchNorm channels, or coupled groups."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor


class Units(ABC):
    """Units of a model, numbered family by family, and how to choose among them.

    Args:
        sizes: number of units in each family.
        floor: fraction of every family that a choice leaves alive; one unit at least.
    """

    def __init__(self, sizes: Mapping[str, int], floor: float = 0.0) -> None:
        self.families = dict(sizes)
        self.sizes = list(sizes.values())
        self.floor = floor

    def __len__(self) -> int:
        return sum(self.sizes)

    @abstractmethod
    def magnitude(self) -> Tensor:
        """How far each unit is from zero, [units]; the scale on which penalties act."""

    @abstractmethod
    def scale(self, factors: Tensor) -> None:
        """Multiply each unit by its factor, [units]."""

    @abstractmethod
    def zero(self) -> Tensor:
        """Mask [units, bool] of the units that are exact zeros."""

    @abstractmethod
    def hold_zero(self, mask: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Set the units in ``mask`` [units, bool] to exact zero, and the optimizer's running state of them."""

    @cached_property
    def family(self) -> Tensor:
        """The number of each unit's family, [units]."""
        numbers = torch.arange(len(self.sizes)).repeat_interleave(torch.tensor(self.sizes, dtype=torch.long))
        return numbers.to(self.magnitude().device)

    def by_family(self, vector: Tensor) -> dict[str, Tensor]:
        """The parts of a vector [units], by the name of their family."""
        return dict(zip(self.families, torch.split(vector, self.sizes), strict=True))

    def strongest(self, score: Tensor) -> Tensor:
        """Mask [units, bool] of each family's units with the largest ``score``, as many as its floor."""
        masks = []
        for part in torch.split(score, self.sizes):
            mask = torch.zeros_like(part, dtype=torch.bool)
            mask[part.topk(least(len(part), self.floor)).indices] = True
            masks.append(mask)
        return torch.cat(masks)

    def weakest(self, score: Tensor, count: int) -> Tensor:
        """Mask [units, bool] of the ``count`` smallest scores of all families that leave every family its floor.

        Fewer than ``count`` where the floors of all families leave no more.
        """
        kept = self.strongest(score)
        order = score.masked_fill(kept, math.inf).argsort(stable=True)
        mask = torch.zeros_like(kept)
        mask[order[:count]] = True
        return mask & ~kept

    def unemptied(self, mask: Tensor, score: Tensor) -> Tensor:
        """``mask`` [units, bool], but for the strongest unit of a family of which it would leave nothing."""
        count = len(self.sizes)
        alive = score.new_zeros(count).index_add_(0, self.family, (~mask).to(score.dtype))
        best = score.new_full((count,), -math.inf).scatter_reduce_(0, self.family, score, "amax")
        return mask & ((alive > 0)[self.family] | (score < best[self.family]))


def least(units: int, floor: float) -> int:
    """How many of a family's units stay alive: the fraction ``floor``, rounded up, and one at least."""
    return max(1, math.ceil(floor * units))
