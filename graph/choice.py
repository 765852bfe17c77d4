"""Steps 3 and 4: who needs which channel, and what may go? One greatest fixpoint.

The unit of removal is a *hyperplane*: all elements of a tensor with one index along one axis. Everything starts as
removable and is withdrawn until nothing changes:

* hyperplanes that a node pairs go together or not at all (`trace.Link`);
* an index that is summed over may go only if its value is zero, its weight in every surviving output is zero, or the
  reader absorbs its constant (`trace.Read`);
* an element goes iff one of its hyperplanes goes, and a channel id goes everywhere or nowhere;
* nothing goes along a frozen axis, and something always stays.

Doing liveness and choice in sequence instead is unsound: what a gate needs depends on which outputs survive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graph.program import Program, label
from graph.trace import FROZEN, Link, Read, Site, Trace
from graph.values import Mask, Values, absorbs_border

Axis = tuple[Site, int]

LIVE = 0


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

    def withdraw(self, stay: Mask, why: NDArray[np.int32] | int) -> bool:
        """Keep what is in ``stay``; true if that is news."""
        news = self.gone & stay
        if not news.any():
            return False
        self.gone = self.gone & ~stay
        self.why = np.where(news, why, self.why)
        return True


@dataclass
class Choice:
    """What goes.

    Attributes:
        planes: per axis that can lose anything, which indices go.
        causes: what `Plane.why` points to; 0 is "it is needed".
    """

    planes: dict[Axis, Plane] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=lambda: [Cause("live", "")])

    def gone(self, site: Site, axis: int) -> Mask | None:
        """Indices of ``axis`` that go, or ``None`` if none can."""
        plane = self.planes.get((site, axis))
        return plane.gone if plane is not None and plane.gone.any() else None


def choose(program: Program, trace: Trace, values: Values | None) -> Choice:
    """The largest set of hyperplanes that may go.

    Args:
        program: the model.
        trace: its channels.
        values: what is known; ``None`` asks what *could* go if its weights were zero.
    """
    return _Fixpoint(program, trace, values).solve()


class _Fixpoint:
    def __init__(self, program: Program, trace: Trace, values: Values | None) -> None:
        self.program, self.trace, self.values = program, trace, values
        self.choice = Choice()
        self.planes = self.choice.planes
        self.gone = np.ones(trace.count, np.bool_)
        self.why = np.zeros(trace.count, np.int32)
        self.gone[FROZEN] = False
        self.why[FROZEN] = self.cause("output", "graph input or output")
        for site, ids in trace.ids.items():
            for axis, size in enumerate(ids.shape):
                if size > 1:
                    self.plane((site, axis), size)
        for link in trace.links:
            for site, axis in link.axes:
                self.plane((site, axis), trace.shapes[site][axis])
        for freeze in trace.freezes:
            if freeze.node is None:
                why = self.cause("output", f"output {freeze.site}")
            else:
                why = self.cause("frozen", label(program.nodes[freeze.node]))
            axes = range(len(trace.shapes[freeze.site])) if freeze.axis is None else [freeze.axis]
            for axis in axes:
                if (freeze.site, axis) in self.planes:
                    plane = self.planes[freeze.site, axis]
                    plane.withdraw(np.ones_like(plane.gone), why)
        self.checks = [check for check in map(self.check, trace.reads) if check]

    def cause(self, reason: str, op: str) -> int:
        cause = Cause(reason, op)
        if cause not in self.choice.causes:
            self.choice.causes.append(cause)
        return self.choice.causes.index(cause)

    def plane(self, axis: Axis, size: int) -> None:
        if axis not in self.planes:
            self.planes[axis] = Plane(np.ones(size, np.bool_), np.zeros(size, np.int32))

    def solve(self) -> Choice:
        while True:
            while self.round():
                pass
            if not self.keep_last():
                return self.choice

    def round(self) -> bool:
        """One pass over all conditions; true if anything was withdrawn."""
        changed = False
        for check in self.checks:
            changed |= check.apply(self.planes)
        for link in self.trace.links:
            changed |= self.together(link)
        for site in self.trace.ids:
            changed |= self.grid(site)
        return changed

    def together(self, link: Link) -> bool:
        planes = [self.planes[axis] for axis in link.axes]
        stay = ~np.logical_and.reduce([plane.gone for plane in planes])
        if not stay.any():
            return False
        why = np.maximum.reduce([plane.why for plane in planes])
        return any([plane.withdraw(stay, why) for plane in planes])

    def grid(self, site: Site) -> bool:
        ids = self.trace.ids[site]
        planes = {axis: self.planes[site, axis] for axis in range(ids.ndim) if ids.shape[axis] > 1}
        covered = np.zeros((1,) * ids.ndim, np.bool_)
        why = np.zeros((1,) * ids.ndim, np.int32)
        for axis, plane in planes.items():
            shape = [-1 if a == axis else 1 for a in range(ids.ndim)]
            covered = covered | plane.gone.reshape(shape)
            why = np.maximum(why, plane.why.reshape(shape))
        changed = False
        kept = ids[np.broadcast_to(~covered, ids.shape)]
        news = self.gone[kept]
        if news.any():
            self.why[kept[news]] = np.broadcast_to(why, ids.shape)[np.broadcast_to(~covered, ids.shape)][news]
            self.gone[kept] = False
            changed = True
        for axis, plane in planes.items():
            others = tuple(a for a in range(ids.ndim) if a != axis)
            stay = (~self.gone[ids]).any(others)
            changed |= plane.withdraw(stay, self.why[ids].max(others))
        return changed

    def keep_last(self) -> bool:
        """An axis that would lose everything keeps its first index; one at a time, since that keeps others too."""
        for (site, axis), plane in self.planes.items():
            if plane.gone.all():
                first = np.arange(plane.gone.size) == 0
                return plane.withdraw(first, self.cause("last", self.describe(site)))
        return False

    def describe(self, site: Site) -> str:
        return site if isinstance(site, str) else self.program.nodes[site[0]].input[site[1]]

    def check(self, read: Read) -> _Check | None:
        """The condition under which an index may leave a sum."""
        if self.values is None or not all(axis in self.planes for axis in (read.left, read.right)):
            return None
        node = self.program.nodes[read.node]
        size = self.planes[read.left].gone.size
        zero = np.zeros(size, np.bool_)
        constant = np.zeros(size, np.bool_)
        weight: tuple[Axis, str] | None = None
        for (site, axis), (other, other_axis) in ((read.left, read.right), (read.right, read.left)):
            if isinstance(site, tuple) and site not in self.trace.ids:
                weight = ((site, axis), self.program.nodes[site[0]].input[site[1]])
                continue
            known = self.values.of(self.describe(site))
            if known is None or not self.finite(other):
                continue
            mask, value = known.along(axis)
            zero |= mask & (value == 0)
            constant |= mask
        border = constant & ~zero
        if not (weight and absorbs_border(node) and self.bias_is_constant(node)):
            constant = zero
        blocked = border & ~constant
        why = np.where(blocked, self.cause("border", label(node)), LIVE).astype(np.int32)
        if weight is None:
            return _Check(read.left, zero, None, [], why)
        (site, axis), name = weight
        axes = [a for a in range(len(self.program.shapes[name])) if a != axis and (site, a) in self.planes]
        ordered = tuple(sorted([axis, *axes]))
        used = np.moveaxis(self.values.nonzero(name, ordered), ordered.index(axis), 0)
        return _Check((site, axis), constant, used, [(site, a) for a in sorted(axes)], why)

    def finite(self, site: Site) -> bool:
        if isinstance(site, str) or self.values is None:
            return True
        return self.values.finite(self.program.nodes[site[0]].input[site[1]])

    def bias_is_constant(self, node: object) -> bool:
        inputs = list(getattr(node, "input", []))
        return len(inputs) < 3 or not inputs[2] or inputs[2] in self.program.constants


@dataclass
class _Check:
    """An index of ``axis`` may go where it is ``free``, or where no surviving output has a weight for it.

    Attributes:
        axis: the summed axis of the weight (of either operand, if both are activations).
        free: indices whose value is zero or absorbed.
        used: bool [summed, outputs...], where the weight is nonzero.
        outputs: the other axes of ``used``.
        why: per index, the cause to name if it must stay.
    """

    axis: Axis
    free: Mask
    used: Mask | None
    outputs: list[Axis]
    why: NDArray[np.int32]

    def apply(self, planes: dict[Axis, Plane]) -> bool:
        plane = planes[self.axis]
        if not (plane.gone & ~self.free).any():
            return False
        if self.used is None:
            return plane.withdraw(~self.free, self.why)
        used = self.used
        for place, axis in enumerate(self.outputs, 1):
            used = used & ~planes[axis].gone.reshape([-1 if a == place else 1 for a in range(used.ndim)])
        needed = used.any(tuple(range(1, used.ndim))) if used.ndim > 1 else used
        return plane.withdraw(needed & ~self.free, self.why)


def constant_sites(trace: Trace, choice: Choice) -> Iterator[tuple[tuple[int, int], dict[int, Mask]]]:
    """Uses of constants that lose something: (node, input) and, per axis, the indices that go."""
    found: dict[tuple[int, int], dict[int, Mask]] = {}
    for (site, axis), plane in choice.planes.items():
        if isinstance(site, tuple) and plane.gone.any():
            found.setdefault(site, {})[axis] = plane.gone
    yield from found.items()
