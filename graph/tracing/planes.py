"""Hyperplanes: all elements of a tensor with one index along one axis, the unit of removal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graph.tracing.trace import Site
from graph.values import Mask

Axis = tuple[Site, int]


@dataclass(frozen=True)
class Cause:
    """Why something stays: a reason of the certificate's vocabulary, and the op behind it."""

    reason: str
    op: str


@dataclass
class Plane:
    """The hyperplanes along one axis of one site: which go, and for those that do not, the index of the cause."""

    gone: Mask
    why: NDArray[np.int32]

    @staticmethod
    def full(size: int) -> Plane:
        """A plane of which everything goes."""
        return Plane(np.ones(size, np.bool_), np.zeros(size, np.int32))

    @property
    def kept(self) -> int:
        """How many indices stay."""
        return int(self.gone.size - np.count_nonzero(self.gone))

    def withdraw(self, stay: Mask, why: NDArray[np.int32] | int) -> bool:
        """Keep what is in ``stay``; true if that is news."""
        news = self.gone & stay
        if not news.any():
            return False
        self.gone = self.gone & ~stay
        self.why = np.where(news, why, self.why).astype(np.int32)
        return True


@dataclass
class Choice:
    """What goes.

    Attributes:
        planes: per axis that can lose anything, which indices go.
        causes: what `Plane.why` points to.
        carriers: per node that pads what it sums, the constant channels that stand for the others of their group.
        dropped: tensors of which nothing is left, with all that computed them.
    """

    planes: dict[Axis, Plane] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=lambda: [Cause("live", "")])
    carriers: dict[int, set[int]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    _numbers: dict[Cause, int] = field(default_factory=dict)

    def gone(self, site: Site, axis: int) -> Mask | None:
        """Indices of ``axis`` that go, or ``None`` if none does."""
        plane = self.planes.get((site, axis))
        return plane.gone if plane is not None and plane.gone.any() else None

    def cause(self, reason: str, op: str) -> int:
        """The index of a cause, new or not."""
        cause = Cause(reason, op)
        if cause not in self._numbers:
            self._numbers[cause] = len(self.causes)
            self.causes.append(cause)
        return self._numbers[cause]
