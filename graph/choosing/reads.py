"""When may an index leave a sum? If it is zero, if no surviving output weighs it, or if its constant is absorbed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graph.choosing.weights import weight
from graph.model.program import Program, label
from graph.ops.contraction import absorbs_border
from graph.tracing.planes import Axis, Choice, Plane
from graph.tracing.rules import signature
from graph.tracing.signature import Signature
from graph.tracing.trace import Read, Site, Trace, name_of
from graph.values import Mask, Values


@dataclass
class Check:
    """The condition of one `Read`.

    Attributes:
        node: that sums.
        axis: the summed axis of the activation (of either operand, if both are).
        free: indices whose value is zero, or a constant that a bias absorbs.
        border: indices whose value is another constant: padding makes it differ at the border.
        values: the constants, 0 where unknown.
        used: bool [groups, summed in one, outputs of one...], where the weight is nonzero; ``None`` if both operands
            are activations.
        outputs: the axes of ``used`` from the third on.
        why: per index, the cause to name if it must stay.
        carriers: indices that stand for all the others in ``border``, one per group at most.
    """

    node: int
    axis: Axis
    free: Mask
    border: Mask
    values: NDArray[np.float64]
    used: Mask | None
    outputs: list[Axis]
    why: NDArray[np.int32]
    carriers: set[int] = field(default_factory=set)

    @property
    def groups(self) -> int:
        """Into how many groups the indices fall."""
        return 1 if self.used is None else self.used.shape[0]

    def carried(self) -> Mask:
        """Indices whose group has a carrier."""
        carried = np.zeros((self.groups, self.free.size // self.groups), np.bool_)
        carried[[index // carried.shape[1] for index in self.carriers]] = True
        return carried.ravel()

    def apply(self, choice: Choice) -> bool:
        """Withdraw what must stay; true if that is news."""
        plane = choice.planes[self.axis]
        free, changed = self.free, False
        if self.carriers:
            free = free | (self.border & self.carried())
            chosen = np.isin(np.arange(plane.gone.size), list(self.carriers))
            first = next(iter(self.carriers))
            changed = plane.withdraw(chosen, choice.cause("carrier", choice.causes[self.why[first]].op))
        if not (plane.gone & ~free).any():
            return changed
        return plane.withdraw(self.needed(choice.planes) & ~free, self.why) or changed

    def needed(self, planes: dict[Axis, Plane]) -> Mask:
        """Indices that any surviving output weighs."""
        if self.used is None:
            return np.ones_like(self.free)
        used = self.used
        for place, axis in enumerate(self.outputs, 2):
            shape = [self.groups if a == 0 else -1 if a == place else 1 for a in range(used.ndim)]
            used = used & ~planes[axis].gone.reshape(shape)
        return np.asarray(used.any(tuple(range(2, used.ndim)))).ravel()


def check(read: Read, program: Program, trace: Trace, values: Values, choice: Choice) -> Check:
    """The condition under which an index may leave the sum of ``read``."""
    node = program.nodes[read.node]
    data = trace.data(read)
    size = choice.planes[data].gone.size
    zero, constant = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    constants = np.zeros(size)
    axis: Axis | None = None  # of a weight
    finite = all(_finite(program, values, site) for site, _ in (read.left, read.right))
    for site, place in (read.left, read.right):
        if site not in trace.ids:
            axis = site, place
        elif finite:
            mask, value = values.along(name_of(program, site), place)
            mask = mask & np.isfinite(value)
            zero |= mask & (value == 0)
            constant |= mask
            constants = value.astype(np.float64)
    live = choice.cause("live" if finite else "frozen", label(node))
    if axis is None:  # two activations: only a zero may leave
        why = np.full(size, live, np.int32)
        return Check(read.node, data, zero, np.zeros_like(zero), constants, None, [], why)
    found = signature(program, node)
    assert found is not None
    matrix = weight(program, node, found)
    floats = not any((read.node, slot) in trace.stored for slot in range(len(node.input)))
    biased = len(node.input) < 3 or not node.input[2] or node.input[2] in program.constants
    free = constant if matrix is not None and absorbs_border(node) and biased and floats else zero
    border = constant & ~free if matrix is not None and floats else np.zeros_like(free)
    why = np.where(border, choice.cause("border", label(node)), live).astype(np.int32)
    if matrix is not None and matrix.groups > 1:
        made: Axis = node.output[0], matrix.made
        outputs = [made] if made in choice.planes else []
        return Check(read.node, data, free, border, constants, matrix.used(values).swapaxes(1, 2), outputs, why)
    return Check(read.node, data, free, border, constants, *_used(program, values, choice, axis, found), why)


def _used(program: Program, values: Values, choice: Choice, axis: Axis, found: Signature) -> tuple[Mask, list[Axis]]:
    """Where a weight is nonzero [1, summed, others...], and its axes of outputs that may lose something.

    Another summed axis does not count: of two axes each would be unread because the other one goes.
    """
    site, summed = axis
    name = name_of(program, site)
    assert isinstance(site, tuple)
    letters = found.operands[site[1]]
    others = [a for a, letter in enumerate(letters) if letter not in found.summed and (site, a) in choice.planes]
    ordered = tuple(sorted([summed, *others]))
    used = np.moveaxis(values.nonzero(name, ordered), ordered.index(summed), 0)
    return used[None], [(site, a) for a in others]


def _finite(program: Program, values: Values, site: Site) -> bool:
    """0 * inf is not 0; activations are taken to be finite."""
    name = name_of(program, site)
    return name not in program.constants or values.finite(name)
