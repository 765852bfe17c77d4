"""Sizes that adapt by themselves, and constants in computed shapes that can be rewritten.

Exporters write ``x.view(x.shape[0], -1, heads, width)`` as Shape, Gather and Concat before a Reshape. A size that
reaches such a target unchanged is right again once the axis that it was read from has lost as many channels. A size
that is computed with, or used in any other way, must stay as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from graph.model.evaluate import CannotEvaluate
from graph.model.program import Program, attributes, captured, key
from graph.model.reader import SELECTIONS
from graph.tracing.movement import data_inputs

TARGETS = {"Reshape": 1, "Expand": 1, "Resize": 3, "ConstantOfShape": 0}  #: ops that a shape is an input of, and which

UNKNOWN = -1


@dataclass(frozen=True)
class Source:
    """Where a size comes from.

    Attributes:
        site: the tensor that a Shape node reads, or the use (node, input slot) of a constant.
        place: the axis, or which element.
    """

    site: str | tuple[int, int]
    place: int


class Sizes:
    """The source of every element of the small integer tensors that a model computes from its shapes."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.sources: list[Source] = []
        self.numbers: dict[str, NDArray[np.int64]] = {}  # per tensor, the place of every element in `sources`
        self.fixed: set[int] = set()  # sources of sizes that must stay
        for index, node in enumerate(program.nodes):
            if key(node) == "Shape":
                rank, attribute = len(program.shapes.get(node.input[0], ())), attributes(node)
                axes = range(rank)[attribute.get("start", 0) : attribute.get("end", rank)]
                self.numbers[node.output[0]] = self._new(node.input[0], axes)
            else:
                self._follow(index, node)
        self._fix(program.outputs)

    def source(self, name: str, place: int) -> Source | None:
        """Where an element of a tensor comes from; ``None`` if that is not known, or the size must stay."""
        numbers = self.numbers.get(name)
        number = UNKNOWN if numbers is None else int(numbers.flat[place])
        return None if number == UNKNOWN or number in self.fixed else self.sources[number]

    def stay(self, name: str) -> list[int]:
        """The axes whose size must stay of those that the Shape node with output ``name`` reads."""
        return [self.sources[number].place for number in self.numbers[name] if number in self.fixed]

    def targets(self, node: NodeProto) -> Iterator[tuple[int, Source | None]]:
        """Axes of the output of ``node`` that a computed target sets, and where each size comes from, as `source`."""
        slot, shape = TARGETS.get(key(node), len(node.input)), self.program.shapes[node.output[0]]
        name = node.input[slot] if slot < len(node.input) else ""
        if not name or name in self.program.constants:
            return
        rank, target = len(shape), self.program.known(name)
        axes = range(rank) if target is None else attributes(node).get("axes", range(rank - target.size, rank))
        for place, axis in enumerate(axes):
            size = None if target is None else int(target.flat[place])
            if size == -1 or (size == 1 and key(node) == "Expand"):
                continue
            yield axis % rank, self.source(name, place) if size == shape[axis] else None

    def _new(self, site: str | tuple[int, int], places: Iterable[int]) -> NDArray[np.int64]:
        first = len(self.sources)
        self.sources += [Source(site, place) for place in places]
        return np.arange(first, len(self.sources))

    def _follow(self, index: int, node: NodeProto) -> None:
        carried = self._carry(index, node)
        others = [name for slot, name in enumerate(node.input) if slot >= carried and slot != TARGETS.get(key(node))]
        self._fix([*others, *captured(node)])

    def _carry(self, index: int, node: NodeProto) -> int:
        """Move the sources like the sizes; how many inputs were moved."""
        names = data_inputs(node) if key(node) in SELECTIONS else []
        if not any(name in self.numbers for name in names) or any(name not in self.program.shapes for name in names):
            return 0
        arrays = []
        for slot, name in enumerate(names):
            if name not in self.numbers and name in self.program.constants:
                shape = self.program.constants[name].shape
                arrays.append(self._new((index, slot), range(int(np.prod(shape)))).reshape(shape))
            else:
                arrays.append(self.numbers.get(name, np.full(self.program.shapes[name], UNKNOWN)))
        parameters = [self.program.known(name) if name else None for name in node.input[len(names) :]]
        try:
            outputs = self.program.evaluate(node, [*arrays, *parameters])
        except CannotEvaluate:
            return 0
        self.numbers.update(zip((name for name in node.output if name), outputs, strict=True))
        return len(names)

    def _fix(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.numbers:
                self.fixed.update(self.numbers[name].ravel().astype(np.int64).tolist())
