"""A penalty of one's own, registered and then used by name: the elastic net (Zou and Hastie, 2005)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from compress.errors import UserError
from compress.penalties import PENALTIES
from compress.train import TrainConfig, train

RIDGE = 0.1


@PENALTIES.register("elastic-net")
@dataclass(frozen=True)
class ElasticNet:
    """p(v) = strength (|v| + RIDGE v^2 / 2): L1 with a ridge."""

    strength: float

    def value(self, v: Tensor) -> Tensor:
        """The sum of p over all elements."""
        return self.strength * (v.abs() + RIDGE * v.square() / 2).sum()

    def subgradient(self, v: Tensor) -> Tensor:
        """Strength times (sign(v) + RIDGE v)."""
        return self.strength * (v.sign() + RIDGE * v)

    def prox(self, v: Tensor, step: float) -> Tensor:
        """sign(v) max(|v| - step strength, 0) / (1 + step strength RIDGE): soft thresholding, divided."""
        shrunk = v.sign() * (v.abs() - step * self.strength).clamp(min=0)
        return shrunk / (1 + step * self.strength * RIDGE)

    def check(self, step: float) -> None:
        """Convex: any positive step will do."""
        if self.strength < 0 or not step > 0:
            raise UserError(f"elastic-net needs strength >= 0 and step > 0, not {self.strength:g}, {step:g}")


def main(folder: str) -> None:
    config = TrainConfig(
        model="resnet20", penalty="elastic-net", target=0.3, epochs=2, train_limit=400, out=Path(folder)
    )
    summary = train(config)
    print(f"{summary.zeros:.0%} of the channels are zero, by {summary.reached_by}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"{__doc__}\nusage: python add_a_penalty.py RUN")
    main(sys.argv[1])
