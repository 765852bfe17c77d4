"""Folded concave penalties: the pull on a scale fades, and ends at the edge of a zone.

Both have the slope

    f'(x) = strength                              for x <= knee
            strength (edge - x) / (edge - knee)   for knee < x <= edge
            0                                     beyond: large scales are left alone

The literature writes the edge as a * strength. With a strength of 1e-4 and the usual a that is a zone of 3e-4, in
which no BatchNorm scale ever is; so here the edge is given, at the scale of gamma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from compress.penalties.base import PENALTIES, Separable


class _Folded(Separable):
    edge: float

    @property
    def _knee(self) -> float:
        return 0.0

    def check(self, step: float) -> None:
        """The prox is single-valued where the quadratic outweighs the bend: step strength < edge - knee.

        Raises:
            UserError: it is not, or strength, shape or step are no positive numbers.
        """
        super().check(step)
        self._require(0 < self.edge < math.inf, "edge must be positive")
        limit = (self.edge - self._knee) / step
        self._require(
            self.strength < limit,
            f"with a proximal step of {step:.3g} the strength must stay below {limit:.3g}: "
            "lower the strength or the learning rate, or raise edge",
        )

    def _value(self, x: Tensor) -> Tensor:
        x = x.clamp(max=self.edge)
        bend = (x - self._knee).clamp(min=0).square() / (2 * (self.edge - self._knee))
        return self.strength * (x - bend)

    def _slope(self, x: Tensor) -> Tensor:
        return self.strength * ((self.edge - x) / (self.edge - self._knee)).clamp(0, 1)

    def _shrink(self, x: Tensor, step: float) -> Tensor:
        mu, edge, knee = step * self.strength, self.edge, self._knee
        soft = (x - mu).clamp(min=0)
        room = edge - knee - mu
        if room > 0:
            firm = ((edge - knee) * x - mu * edge) / room
            return torch.maximum(soft, torch.minimum(firm, x))
        # Too strong for `check`, but a strength that is steered may come here: the zone empties in one jump.
        jump = (edge + knee + mu) / 2 if mu < edge + knee else math.sqrt(mu * (edge + knee))
        return torch.where(x <= jump, soft, x)


@PENALTIES.register("mcp")
@dataclass(frozen=True)
class MCP(_Folded):
    """f(x) = strength (x - x^2 / (2 edge)) up to the edge, constant beyond: the minimax concave penalty.

    Zhang, Annals of Statistics 38, 2010, equation 2.1, with gamma = edge / strength. Its prox is firm shrinkage
    (Gao and Bruce, Statistica Sinica 7, 1997), which is also that of the weakly convex penalty of Shen and Gu
    (arXiv 1708.02059) with zeta = 1 / (2 edge):

        0 for x <= mu;   (x - mu) / (1 - mu / edge) for x <= edge;   x beyond
    """

    strength: float
    edge: float = 1.0


@PENALTIES.register("scad")
@dataclass(frozen=True)
class SCAD(_Folded):
    """L1 up to the knee = edge / a, bending to constant at the edge: smoothly clipped absolute deviation.

    Fan and Li, J. Am. Stat. Assoc. 96, 2001, equation 2.7, with their lambda, which is knee and slope at once, taken
    apart; a = 3.7 is their choice. The prox is theirs (2.8) for any step, as in Gong et al., ICML 2013:

        (x - mu)+ for x <= knee + mu;   ((edge - knee) x - mu edge) / (edge - knee - mu) for x <= edge;   x beyond
    """

    strength: float
    edge: float = 1.0
    a: float = 3.7

    @property
    def _knee(self) -> float:
        return self.edge / self.a

    def check(self, step: float) -> None:
        """As for all penalties with an edge; a must be above 1."""
        self._require(1 < self.a < math.inf, "a must be above 1")
        super().check(step)
