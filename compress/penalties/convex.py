"""The convex penalties: every scale is pulled, large ones too."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compress.penalties.base import PENALTIES, Separable


@PENALTIES.register("l1")
@dataclass(frozen=True)
class L1(Separable):
    """f(x) = strength x; its prox is soft thresholding (Donoho and Johnstone, Biometrika 81, 1994)."""

    strength: float

    def _value(self, x: Tensor) -> Tensor:
        return self.strength * x

    def _slope(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.strength)

    def _shrink(self, x: Tensor, step: float) -> Tensor:
        return (x - step * self.strength).clamp(min=0)


@PENALTIES.register("elastic-net")
@dataclass(frozen=True)
class ElasticNet(Separable):
    """f(x) = strength (x + ridge x^2 / 2): L1 with weight decay (Zou and Hastie, J. R. Stat. Soc. B 67, 2005).

    The naive elastic net of their section 2; its prox is soft thresholding, divided by 1 + mu ridge.
    """

    strength: float
    ridge: float = 1.0

    def check(self, step: float) -> None:
        """Any positive step will do.

        Raises:
            UserError: strength or ridge is negative, or the step is not positive.
        """
        super().check(step)
        self._require(self.ridge >= 0, "ridge must not be negative")

    def _value(self, x: Tensor) -> Tensor:
        return self.strength * (x + self.ridge / 2 * x.square())

    def _slope(self, x: Tensor) -> Tensor:
        return self.strength * (1 + self.ridge * x)

    def _shrink(self, x: Tensor, step: float) -> Tensor:
        mu = step * self.strength
        return (x - mu).clamp(min=0) / (1 + mu * self.ridge)
