"""A penalty of one's own, registered and then used by name: capped L1 (Zhang, J. Mach. Learn. Res. 11, 2010)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from compress.penalties import PENALTIES, Separable
from compress.train import TrainConfig, train


@PENALTIES.register("capped-l1")
@dataclass(frozen=True)
class CappedL1(Separable):
    """f(x) = strength min(x, cap), x = |v|; `Separable` makes value, subgradient and prox of the three formulas."""

    strength: float
    cap: float = 1.0

    def _value(self, x: Tensor) -> Tensor:
        return self.strength * x.clamp(max=self.cap)

    def _slope(self, x: Tensor) -> Tensor:
        return self.strength * (x < self.cap)

    def _shrink(self, x: Tensor, step: float) -> Tensor:
        """The better one of the two local minimisers: below the cap, and above it."""
        below = (x - step * self.strength).clamp(min=0, max=self.cap)
        above = x.clamp(min=self.cap)
        costs = [self._value(y) + (y - x).square() / (2 * step) for y in (below, above)]
        return torch.where(costs[0] <= costs[1], below, above)


def main(folder: str) -> None:
    config = TrainConfig(
        model="resnet20", penalty="capped-l1:cap=0.8", target=0.3, epochs=2, train_limit=400, out=Path(folder)
    )
    summary = train(config)
    print(f"{summary.zeros:.0%} of the channels are zero, by {summary.reached_by}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"{__doc__}\nusage: python add_a_penalty.py RUN")
    main(sys.argv[1])
