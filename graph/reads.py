"""When may an index leave a sum? If it is zero, if no surviving output weighs it, or if its constant is absorbed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graph.ops.contraction import absorbs_border
from graph.planes import Axis, Choice, Plane
from graph.program import Program, label
from graph.trace import Read, Site, Trace
from graph.values import Mask, Values


@dataclass
class Check:
    """The condition of one `Read`.

    Attributes:
        axis: the summed axis of the weight (of either operand, if both are activations).
        free: indices whose value is zero, or a constant that a bias absorbs.
        border: indices whose value is another constant: padding makes it differ at the border.
        values: the constants, 0 where unknown.
        used: bool [summed, outputs...], where the weight is nonzero; ``None`` if both operands are activations.
        outputs: the other axes of ``used``.
        why: per index, the cause to name if it must stay.
        carrier: the index that stands for all the others in ``border``, if one was chosen.
    """

    axis: Axis
    free: Mask
    border: Mask
    values: NDArray[np.float64]
    used: Mask | None
    outputs: list[Axis]
    why: NDArray[np.int32]
    carrier: int | None = None

    def apply(self, choice: Choice) -> bool:
        """Withdraw what must stay; true if that is news."""
        plane = choice.planes[self.axis]
        free = self.free if self.carrier is None else self.free | self.border
        changed = False
        if self.carrier is not None:
            chosen = np.arange(plane.gone.size) == self.carrier
            changed = plane.withdraw(chosen, choice.cause("carrier", choice.causes[self.why[self.carrier]].op))
        if not (plane.gone & ~free).any():
            return changed
        return plane.withdraw(self.needed(choice.planes) & ~free, self.why) or changed

    def needed(self, planes: dict[Axis, Plane]) -> Mask:
        """Indices that any surviving output weighs."""
        if self.used is None:
            return np.ones_like(self.free)
        used = self.used
        for place, axis in enumerate(self.outputs, 1):
            used = used & ~planes[axis].gone.reshape([-1 if a == place else 1 for a in range(used.ndim)])
        return np.asarray(used.any(tuple(range(1, used.ndim))))


def check(read: Read, program: Program, trace: Trace, values: Values, choice: Choice) -> Check:
    """The condition under which an index may leave the sum of ``read``."""
    node = program.nodes[read.node]
    size = choice.planes[read.left].gone.size
    zero, constant = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    constants = np.zeros(size)
    weight: Axis | None = None
    for (site, axis), (other, _) in ((read.left, read.right), (read.right, read.left)):
        if isinstance(site, tuple) and site not in trace.ids:
            weight = site, axis
        elif _finite(program, values, other):
            mask, value = values.along(name_of(program, site), axis)
            zero |= mask & (value == 0)
            constant |= mask
            constants = value.astype(np.float64)
    if weight is None:  # two activations: only a zero may leave
        why = np.full(size, choice.cause("live", label(node)), np.int32)
        return Check(read.left, zero, np.zeros_like(zero), constants, None, [], why)
    (site, axis), name = weight, name_of(program, weight[0])
    absorbs = absorbs_border(node) and (len(node.input) < 3 or not node.input[2] or node.input[2] in program.constants)
    border = constant & ~zero & (not absorbs)
    why = np.where(border, choice.cause("border", label(node)), choice.cause("live", label(node))).astype(np.int32)
    outputs = [a for a in range(len(program.shapes[name])) if a != axis and (site, a) in choice.planes]
    ordered = tuple(sorted([axis, *outputs]))
    used = np.moveaxis(values.nonzero(name, ordered), ordered.index(axis), 0)
    return Check(weight, constant & ~border, border, constants, used, [(site, a) for a in outputs], why)


def name_of(program: Program, site: Site) -> str:
    """The tensor behind a site."""
    return site if isinstance(site, str) else program.nodes[site[0]].input[site[1]]


def _finite(program: Program, values: Values, site: Site) -> bool:
    """0 * inf is not 0; activations are taken to be finite."""
    name = name_of(program, site)
    return name not in program.constants or values.finite(name)
