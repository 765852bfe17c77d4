"""Powers of the scale: Lp for p between 0 and 1, and L0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.penalties.base import PENALTIES, Separable

FLAT = 1e-4  # below this size the slope of Lp is taken as constant: it has no limit, and a step would leap away
NEWTON_STEPS = 6  # to the last bit of float64 for p from 0.01 to 0.99


@PENALTIES.register("l0")
@dataclass(frozen=True)
class L0(Separable):
    """f(x) = strength for x > 0; its prox is hard thresholding at sqrt(2 mu).

    Blumensath and Davies, J. Fourier Anal. Appl. 14, 2008, equation 2.2. It has no slope, so it is of no use to
    methods that add a subgradient.
    """

    strength: float

    def _value(self, x: Tensor) -> Tensor:
        return self.strength * x.sign()

    def _slope(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def _shrink(self, x: Tensor, step: float) -> Tensor:
        return x * (x > math.sqrt(2 * step * self.strength))


@PENALTIES.register("lp")
@dataclass(frozen=True)
class Lp(Separable):
    """f(x) = strength x^p, 0 < p < 1.

    The prox is 0 up to the threshold s + mu p s^(p-1) with s = (2 mu (1-p))^(1/(2-p)), and beyond it the larger root
    of x' + mu p x'^(p-1) = x: in closed form for p = 1/2 (Xu et al., IEEE Trans. Neural Netw. Learn. Syst. 23, 2012)
    and p = 2/3 (Cao, Sun and Xu, J. Vis. Commun. Image Represent. 24, 2013), by Newton's method for any other
    (Marjanovic and Solo, IEEE Trans. Signal Process. 60, 2012, for threshold and root). The slope is that at 1e-4
    wherever x is smaller.
    """

    strength: float
    p: float = 0.5

    def check(self, step: float) -> None:
        """Any positive step will do.

        Raises:
            UserError: the strength is negative, p is not between 0 and 1, or the step is not positive.
        """
        super().check(step)
        self._require(0 < self.p < 1, "p must lie between 0 and 1, both excluded")

    def _value(self, x: Tensor) -> Tensor:
        return self.strength * x.pow(self.p)

    def _slope(self, x: Tensor) -> Tensor:
        return self.strength * self.p * x.clamp(min=FLAT).pow(self.p - 1)

    def _shrink(self, x: Tensor, step: float) -> Tensor:
        # In units of x there is one number left, m = mu x^(p-2), and y = x' / x is the larger root of
        # y + m p y^(p-1) = 1. At the threshold y = 2 (1-p) / (2-p).
        p = self.p
        least = 2 * (1 - p) / (2 - p)
        m = step * self.strength * x.pow(p - 2)
        limit: float = least ** (2 - p) / (2 * (1 - p))
        alive = m < limit
        return x * _root(torch.where(alive, m, 0), p) * alive


def _root(m: Tensor, p: float) -> Tensor:
    """Larger root y of ``y + m p y^(p-1) = 1``, for m up to that of the threshold."""
    if p == 1 / 2:
        return 2 / 3 * (1 + (2 / 3 * (-(3**1.5) / 4 * m).clamp(min=-1).acos()).cos())
    if p == 2 / 3:
        c = (1 / 16 + (1 / 256 - 8 / 729 * m.pow(3)).clamp(min=0).sqrt()).pow(1 / 3)
        z = (2 * (c + 2 / 9 * m / c)).sqrt()  # 2/9 m / c is the other cube root, without its cancellation
        return (z + (2 / z - z.square()).sqrt()).pow(3) / 8
    y = torch.ones_like(m)  # the function is convex and rises from the root to 1: Newton descends and cannot miss
    for _ in range(NEWTON_STEPS):
        pull = m * p * y.pow(p - 1)
        y = y - (y + pull - 1) / (1 - (1 - p) * pull / y)
    return y
