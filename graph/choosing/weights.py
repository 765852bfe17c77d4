"""The constant operand of a sum of products, seen as a matrix from input channels to output channels.

With groups it is one matrix per group: a convolution stores [output channels, inputs of one group, kernel...], a
transposed one [input channels, outputs of one group, kernel...].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from graph.model.evaluate import Array
from graph.model.program import Program
from graph.tracing.signature import OPAQUE, Signature
from graph.values import Mask, Values


@dataclass(frozen=True)
class Weight:
    """A constant [..., output channels, ..., input channels, ...] in either order.

    Attributes:
        name: of the constant.
        slot: which input of the node it is.
        out_axis: its axis of output channels.
        in_axis: its axis of input channels.
        made: the axis of the node's output that has the output channels.
        groups: output channels see the input channels of their own group only.
    """

    name: str
    slot: int
    out_axis: int
    in_axis: int
    made: int
    groups: int

    def matrices(self, array: Array) -> Array:
        """A view [groups, outputs of one, inputs of one, ...] of an array with the constant's axes."""
        rows, *rest = array.shape
        split = array.reshape(self.groups, rows // self.groups, *rest)
        return np.moveaxis(split, (self.out_axis + 1, self.in_axis + 1), (1, 2))

    def used(self, values: Values) -> Mask:
        """Which inputs have a nonzero weight: bool [groups, outputs of one, inputs of one]."""
        nonzero = values.nonzero(self.name, tuple(sorted((self.out_axis, self.in_axis))))
        out_axis = int(self.out_axis > self.in_axis)  # the other axes are gone
        return np.asarray(replace(self, out_axis=out_axis, in_axis=1 - out_axis).matrices(nonzero))

    def total(self, values: Values, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """What constant ``inputs`` [input channels] add to every output [output channels] at each inner position."""
        array = self.matrices(values.program.constants[self.name])
        live = inputs.reshape(self.groups, -1)
        some = live.any(0)  # few are constants, and only those are summed
        summed = np.einsum(array[:, :, some], range(array.ndim), live[:, some], [0, 2], [0, 1], dtype=np.float64)
        return np.asarray(summed.ravel())


def weight(program: Program, node: NodeProto, found: Signature) -> Weight | None:
    """The constant of ``node``; ``None`` if it has none that is one matrix (per group)."""
    summed, out = found.summed, found.outputs[0]
    for slot, letters in enumerate(found.operands[:2]):
        if node.input[slot] not in program.constants or node.input[1 - slot] in program.constants:
            continue
        made = [axis for axis, letter in enumerate(letters) if letter in out and letter != OPAQUE]
        inner = [axis for axis, letter in enumerate(letters) if letter in summed]
        if found.groups > 1:  # axis 1 counts within a group, so it has no letter
            made, inner = made or [1], inner or [1]
        if len(made) == len(inner) == 1:
            place = 1 if found.groups > 1 else out.index(letters[made[0]])
            return Weight(node.input[slot], slot, made[0], inner[0], place, found.groups)
    return None
