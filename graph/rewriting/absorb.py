"""What removed constant channels contributed: added to the bias of their reader, or to the weights of a carrier."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graph.choosing.weights import Weight, weight
from graph.model.evaluate import Array
from graph.model.program import Program, Shape, attributes, key
from graph.tracing.planes import Choice
from graph.tracing.rules import signature
from graph.tracing.trace import Read, Trace, Use, name_of
from graph.values import Values

Constants = NDArray[np.float64]  #: per input channel, 0 where it is not constant

VECTOR_BIAS = {"Conv", "ConvTranspose"}  #: ops whose bias is a vector, and broadcasts over no output


@dataclass
class Absorbed:
    """What removed constants left behind.

    Attributes:
        constants: new value per use of a constant (node, input slot), at full size.
        names: of the constants that took up the value of a removed channel, by the node that reads it.
        unscaled: Gemm nodes whose new bias counts once, whatever beta was.
    """

    constants: dict[Use, Array] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    unscaled: set[int] = field(default_factory=set)


def absorb(program: Program, trace: Trace, choice: Choice, values: Values) -> Absorbed:
    """Put what the channels that go contribute where it stays."""
    absorber = _Absorber(program, trace, choice, values)
    for read in trace.reads:
        absorber.visit(read)
    return absorber.result


@dataclass
class _Absorber:
    program: Program
    trace: Trace
    choice: Choice
    values: Values
    result: Absorbed = field(default_factory=Absorbed)

    def visit(self, read: Read) -> None:
        """Move what leaves one sum into the bias of the node, or on its carriers."""
        site, axis = self.trace.data(read)
        gone = self.choice.gone(site, axis)
        node = self.program.nodes[read.node]
        found = signature(self.program, node) if gone is not None else None
        matrix = weight(self.program, node, found) if found is not None else None
        if gone is None or matrix is None:
            return
        mask, value = self.values.along(name_of(self.program, site), axis)
        value = np.where(mask, value, 0).astype(np.float64)
        removed = np.where(gone, value, 0)
        if not removed.any():
            return
        if read.node in self.choice.carriers:
            return self.load_carriers(read.node, matrix, removed, value)
        total, unread = matrix.total(self.values, removed), self.choice.gone(node.output[0], matrix.made)
        if unread is not None:
            total[unread] = 0
        if total.any():
            self.add_bias(read.node, total, matrix.made)

    def load_carriers(self, index: int, matrix: Weight, removed: Constants, value: Constants) -> None:
        """Add the weights of removed constants to the one that stays for them, scaled by their values."""
        array = self.program.constants[matrix.name].copy()
        view = matrix.matrices(array)
        removed, value = removed.reshape(matrix.groups, -1), value.reshape(matrix.groups, -1)
        group, carrier = np.divmod(sorted(self.choice.carriers[index]), value.shape[1])
        some = removed.any(0)
        share = removed[group][:, some] / value[group, carrier][:, None]
        weights = view[group][:, :, some]  # [groups that have a carrier, outputs, removed inputs, ...]
        column = np.einsum("goi...,gi->go...", weights, share, dtype=np.float64)
        view[group, :, carrier] = (view[group, :, carrier] + column).astype(array.dtype)
        self.result.constants[index, matrix.slot] = array
        self.result.names[index] = f"{matrix.name}[{matrix.in_axis}]"

    def add_bias(self, index: int, total: NDArray[np.float64], axis: int) -> None:
        """Add ``total`` [channels of ``axis`` of the output] to the bias of a node, which may have none yet."""
        node = self.program.nodes[index]
        weight = next(name for name in node.input if name in self.program.constants)
        present = len(node.input) > 2 and bool(node.input[2])
        old: Array = self.program.constants[node.input[2]].astype(np.float64) if present else np.zeros(1)
        if key(node) not in VECTOR_BIAS:  # broadcast against the output
            total = total.reshape([-1] + [1] * (len(self.program.shapes[node.output[0]]) - 1 - axis))
        behind = self.added_behind(node.output[0], total.shape) if key(node) == "MatMul" else None
        if behind is not None:
            self.result.names[index] = name_of(self.program, behind)
            added = self.program.constants[self.result.names[index]]
            self.result.constants[behind] = (added.astype(np.float64) + total).astype(added.dtype)
            return
        if key(node) == "Gemm":  # alpha A B + beta C: the new C counts once
            old, total = attributes(node).get("beta", 1.0) * old, attributes(node).get("alpha", 1.0) * total
            self.result.unscaled.add(index)
        self.result.constants[index, 2] = (old + total).astype(self.program.constants[weight].dtype)
        self.result.names[index] = node.input[2] if present else f"{node.output[0]}_bias"

    def added_behind(self, out: str, shape: Shape) -> Use | None:
        """The constant that the only reader of ``out`` adds to it, if it has room for one of ``shape``."""
        readers = self.program.consumers.get(out, [])
        adds = len(readers) == 1 and key(self.program.nodes[readers[0]]) == "Add" and out not in self.program.outputs
        if not adds:
            return None
        names = list(self.program.nodes[readers[0]].input)
        use = readers[0], 1 - names.index(out)
        name = names[use[1]]
        if name not in self.program.constants or use in self.trace.stored:
            return None
        own = self.program.constants[name].shape
        fits = len(own) >= len(shape) and np.broadcast_shapes(own, shape) == own
        return use if fits else None
