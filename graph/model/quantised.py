"""Quantised constants: the compiler sees the floats that DequantizeLinear makes, the file stores integers and scales.

A slice of those floats is a slice of what they were folded from, so a quantised model stays one. Other values than
zero could not be stored exactly, so nothing is ever added to such a constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, helper

from graph.model.evaluate import Array
from graph.model.nodes import attributes, captured, key
from graph.model.program import Program
from graph.model.shapes import Shape

CHAIN = ("DequantizeLinear", "QuantizeLinear", "Transpose")


@dataclass(frozen=True)
class Stored:
    """A use (node, input slot) of a constant that holds a part of what another use sees.

    Attributes:
        use: where it is stored.
        axes: per axis of the stored array, which axis of the seen one it lies along; -1 for none.
        zero: what is stored for a zero, an array that broadcasts over the stored one; ``None`` for scales.
    """

    use: tuple[int, int]
    axes: tuple[int, ...]
    zero: Array | None


def scale_axes(program: Program, node: NodeProto, slot: int = 1) -> tuple[int, ...]:
    """Per axis of the scale (zero point: slot 2) of a (de)quantising node, which axis of its tensor it lies along.

    -1 stands for none. A scale per block is shorter than the tensor.
    """
    shape, scale = program.shapes[node.input[0]], program.shapes[node.input[slot]]
    if len(scale) == 1 and scale != (1,):
        return (attributes(node).get("axis", 1) % len(shape),)
    return tuple(axis if size > 1 else -1 for axis, size in enumerate(scale))


def zero_point(program: Program, node: NodeProto) -> Array | None:
    """What stands for zero among the integers of a (de)quantising node, over which it lies; ``None`` if computed."""
    shape = program.shapes[node.input[0]]
    if len(node.input) < 3 or not node.input[2]:
        kind = attributes(node).get("output_dtype", 0) if key(node) == "QuantizeLinear" else 0
        return np.zeros((1,) * len(shape), helper.tensor_dtype_to_np_dtype(kind or TensorProto.UINT8))
    point = program.constants.get(node.input[2])
    if point is None:
        return None
    if point.size == 1:
        return point.reshape((1,) * len(shape))
    axes = scale_axes(program, node, 2)
    point = point.reshape([point.shape[axes.index(axis)] if axis in axes else 1 for axis in range(len(shape))])
    for axis, size in enumerate(point.shape):
        if 1 < size < shape[axis]:  # a block of elements has one
            point = point.repeat(-(-shape[axis] // size), axis).take(range(shape[axis]), axis)
    return point


def quantised(program: Program) -> dict[tuple[int, int], list[Stored]]:
    """Per use of a constant that was dequantised, what has to be sliced with it.

    It is the use itself, as floats, if others read the constant as well: they may need another slice.
    """
    if not any(key(node) == "DequantizeLinear" for node in program.nodes):
        return {}
    constants = _Constants(program)
    return {
        (index, slot): constants.stored((index, slot), tuple(range(len(program.shapes[name]))))
        for index, node in enumerate(program.nodes)
        if node.output[0] not in program.constants
        for slot, name in enumerate(node.input)
        if name in constants.dequantised
    }


def blocks(program: Program, stored: Mapping[tuple[int, int], list[Stored]]) -> Iterator[tuple[tuple[int, int], int]]:
    """Uses of dequantised constants, with the axes along which several elements have one scale."""

    def shape(use: tuple[int, int]) -> Shape:
        return program.shapes[program.nodes[use[0]].input[use[1]]]

    for use, found in stored.items():
        for part in found:
            for size, axis in zip(shape(part.use), part.axes, strict=True):
                if axis >= 0 and size != shape(use)[axis]:
                    yield use, axis


def parts(stored: Mapping[tuple[int, int], list[Stored]], use: tuple[int, int], rank: int) -> list[Stored]:
    """What holds the constant with ``rank`` axes that ``use`` sees: the use itself, if it is not `quantised`."""
    return stored.get(use) or [Stored(use, tuple(range(rank)), np.zeros((1,) * rank))]


@dataclass
class _Constants:
    """Constants that are made of others: by which node, and how many read them."""

    program: Program
    makers: dict[str, int] = field(default_factory=dict)
    dequantised: set[str] = field(default_factory=set)
    readers: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for index, node in enumerate(self.program.nodes):
            self.readers.update([*node.input, *captured(node)])
            out = node.output[0]
            if key(node) in CHAIN and out in self.program.constants:
                self.makers[out] = index
                if key(node) == "DequantizeLinear" or node.input[0] in self.dequantised:
                    self.dequantised.add(out)
        self.readers.update(self.program.outputs)

    def stored(self, use: tuple[int, int], axes: tuple[int, ...]) -> list[Stored]:
        """What holds the constant that ``use`` reads, whose axes are ``axes`` of the one that is seen."""
        reader = self.program.nodes[use[0]]
        name = reader.input[use[1]]
        if name not in self.makers or self.readers[name] > 1:
            integers = key(reader) == "DequantizeLinear"
            return [Stored(use, axes, zero_point(self.program, reader) if integers else np.zeros(1))]
        index = self.makers[name]
        maker = self.program.nodes[index]
        if key(maker) == "Transpose":
            order = attributes(maker).get("perm", list(reversed(range(len(axes)))))
            return self.stored((index, 0), tuple(axes[order.index(axis)] for axis in range(len(axes))))
        found = self.stored((index, 0), axes)
        for slot, each in enumerate(maker.input):
            if slot and each:
                own = scale_axes(self.program, maker, slot)
                found.append(Stored((index, slot), tuple(axes[axis] if axis >= 0 else -1 for axis in own), None))
        return found
