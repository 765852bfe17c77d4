"""Penalties that make scales exactly zero: small frozen objects that know one formula each.

Notation: v are scales of any shape, step is the proximal step tau > 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from compress.errors import UserError
from compress.registry import Registry

if TYPE_CHECKING:  # the formulas need no import of torch, so neither does a list of the penalties' names
    from torch import Tensor


class Penalty(Protocol):
    """A separable penalty p with its strength built in."""

    @property
    def strength(self) -> float:
        """Weight lambda of the penalty, the slope of p at zero."""
        ...

    def value(self, v: Tensor) -> Tensor:
        """Sum of p over all elements of ``v``, a scalar."""
        ...

    def subgradient(self, v: Tensor) -> Tensor:
        """One element of the subdifferential of p at each element of ``v``; 0 at 0."""
        ...

    def prox(self, v: Tensor, step: float) -> Tensor:
        """Minimiser over x of ``p(x) + (x - v)^2 / (2 step)``, element by element."""
        ...

    def check(self, step: float) -> None:
        """Make sure that the prox with this step has one value everywhere.

        Raises:
            UserError: it has not; the message says what to change.
        """
        ...


PENALTIES: Registry[Callable[[float], Penalty]] = Registry("penalty")


@PENALTIES.register("l1")
@dataclass(frozen=True)
class L1:
    """p(v) = strength |v|; its prox is soft thresholding (Donoho and Johnstone, 1994)."""

    strength: float

    def value(self, v: Tensor) -> Tensor:
        """Strength times the sum of |v|."""
        return self.strength * v.abs().sum()

    def subgradient(self, v: Tensor) -> Tensor:
        """Strength times sign(v)."""
        return self.strength * v.sign()

    def prox(self, v: Tensor, step: float) -> Tensor:
        """Soft thresholding: sign(v) max(|v| - step strength, 0)."""
        return v.sign() * (v.abs() - step * self.strength).clamp(min=0)

    def check(self, step: float) -> None:
        """Convex: any positive step will do.

        Raises:
            UserError: the strength is negative or the step is not positive.
        """
        if self.strength < 0:
            raise UserError(f"penalty l1 needs a strength of at least 0, not {self.strength:g}")
        if not step > 0:
            raise UserError(f"penalty l1 needs a positive step, not {step:g}: is the learning rate positive?")
