"""What a penalty can do, and what all separable penalties share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor

from compress.errors import UserError
from compress.registry import Registry


class Penalty(Protocol):
    """A penalty p with its strength built in."""

    @property
    def strength(self) -> float:
        """Weight lambda of the penalty; p is proportional to it."""
        ...

    def value(self, v: Tensor) -> Tensor:
        """Sum of p over all elements of ``v``, a scalar."""
        ...

    def subgradient(self, v: Tensor) -> Tensor:
        """A finite slope of p at each element of ``v``: its derivative, and 0 at 0."""
        ...

    def prox(self, v: Tensor, step: float) -> Tensor:
        """Minimiser over x of ``p(x) + (x - v)^2 / (2 step)``, element by element; of two the smaller.

        NaN and infinity come back as they are.
        """
        ...

    def check(self, step: float) -> None:
        """Make sure that strength, shape and proximal step are what the formulas hold for.

        Raises:
            UserError: they are not; the message says what to change.
        """
        ...


class Separable(ABC):
    """p(v) = f(|v|): a penalty is three formulas in x = |v| >= 0, which is float32 at the least."""

    strength: float

    @abstractmethod
    def _value(self, x: Tensor) -> Tensor:
        """The f(x) of each element."""

    @abstractmethod
    def _slope(self, x: Tensor) -> Tensor:
        """The f'(x) of each element; at 0 anything finite."""

    @abstractmethod
    def _shrink(self, x: Tensor, step: float) -> Tensor:
        """The prox of each element, at least 0; anything where x is not finite."""

    def value(self, v: Tensor) -> Tensor:
        """Sum of p over all elements of ``v``, a scalar."""
        return self._value(_magnitude(v)).sum()

    def subgradient(self, v: Tensor) -> Tensor:
        """The derivative of p at each element of ``v``, and 0 at 0."""
        slope = (self._slope(_magnitude(v)) * v.sign()).to(v.dtype)
        return torch.where(v.isnan(), v, slope)  # torch has sign(nan) = 0

    def prox(self, v: Tensor, step: float) -> Tensor:
        """Minimiser over x of ``p(x) + (x - v)^2 / (2 step)``, element by element; of two the smaller."""
        x = _magnitude(v)
        shrunk = torch.minimum(self._shrink(x, step), x)  # rounding must not lengthen
        return torch.where(v.isfinite(), (shrunk * v.sign()).to(v.dtype), v)

    def check(self, step: float) -> None:
        """Any strength of at least 0 and any positive step will do.

        Raises:
            UserError: the strength is negative or the step is not positive.
        """
        self._require(0 <= self.strength < math.inf, "the strength must be a number of at least 0")
        self._require(step > 0, f"it needs a positive step, not {step:g}: is the learning rate positive?")

    def _require(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise UserError(f"penalty {self}: {otherwise}")


PENALTIES: Registry[type[Penalty]] = Registry("penalty")


def _magnitude(v: Tensor) -> Tensor:
    """|v| in float32 at the least: powers and roots of half precision are worth nothing."""
    return v.abs().to(torch.promote_types(v.dtype, torch.float32))
