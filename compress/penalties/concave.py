"""Concave penalties whose pull fades with the size of a scale but never ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from compress.penalties.base import PENALTIES, Separable


@PENALTIES.register("tl1")
@dataclass(frozen=True)
class TransformedL1(Separable):
    """f(x) = strength (a + 1) x / (a + x): like L0 for small a, like L1 for large a.

    Zhang and Xin, "Minimization of transformed L1 penalty: closed form representation and iterative thresholding
    algorithms", Commun. Math. Sci. 15, 2017. Its prox is 0 up to the threshold

        mu (a + 1) / a               for mu <= a^2 / (2 (a + 1)),
        sqrt(2 mu (a + 1)) - a / 2   otherwise,

    and 2/3 (a + x) cos(phi / 3) - 2/3 a + x / 3 beyond, with phi = arccos(1 - 27 mu a (a + 1) / (2 (a + x)^3)). Here
    half angles take the place of the cosines, whose differences from 1 would be lost in rounding.
    """

    strength: float
    a: float = 1.0

    def check(self, step: float) -> None:
        """Any positive step will do.

        Raises:
            UserError: the strength is negative, or a or the step is not positive.
        """
        super().check(step)
        self._require(0 < self.a < math.inf, "a must be positive")

    def _value(self, x: Tensor) -> Tensor:
        return self.strength * (self.a + 1) * x / (self.a + x)

    def _slope(self, x: Tensor) -> Tensor:
        return self.strength * self.a * (self.a + 1) / (self.a + x).square()

    def _shrink(self, x: Tensor, step: float) -> Tensor:
        mu, a = step * self.strength, self.a
        continuous = mu <= a**2 / (2 * (a + 1))
        threshold = mu * (a + 1) / a if continuous else math.sqrt(2 * mu * (a + 1)) - a / 2
        half = (6.75 * mu * a * (a + 1) / (a + x).pow(3)).clamp(max=1).sqrt().asin()  # phi / 2
        root = x - (a + x) * (half / 3).sin().square() * (4 / 3)
        return root.clamp(min=0) * (x > threshold)


@PENALTIES.register("log-sum")
@dataclass(frozen=True)
class LogSum(Separable):
    """f(x) = strength log(1 + x / eps), the penalty behind reweighted L1.

    Candes, Wakin and Boyd, J. Fourier Anal. Appl. 14, 2008, section 2.3. The prox is that of Prater-Bennette, Shen
    and Tripp, J. Sci. Comput. 93, 2022: the larger root of x' + mu / (eps + x') = x where it is positive and, for
    mu > eps^2, better than 0; otherwise 0.
    """

    strength: float
    eps: float = 0.1

    def check(self, step: float) -> None:
        """Any positive step will do.

        Raises:
            UserError: the strength is negative, or eps or the step is not positive.
        """
        super().check(step)
        self._require(0 < self.eps < math.inf, "eps must be positive")

    def _value(self, x: Tensor) -> Tensor:
        return self.strength * (x / self.eps).log1p()

    def _slope(self, x: Tensor) -> Tensor:
        return self.strength / (self.eps + x)

    def _shrink(self, x: Tensor, step: float) -> Tensor:
        mu, eps = step * self.strength, self.eps
        gap = x + eps
        root = ((x - eps) / 2 + gap / 2 * (1 - 4 * mu / gap.square()).clamp(min=0).sqrt()).clamp(min=0)
        if mu <= eps**2:
            return root
        gain = root * (x - root / 2) - mu * ((root + eps).log() - math.log(eps))  # of the root over 0
        return root * (gain > 0)
