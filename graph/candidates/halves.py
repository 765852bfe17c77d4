"""A model in two halves, of which the second one takes as data which channel classes are zero.

The head computes what no mask reaches, and runs once; the tail runs with one choice after the other, or with several at
a time: every row of a batch may have a mask of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from graph.candidates.classes import Classes
from graph.candidates.masks import Place, has_rows, places
from graph.model.nodes import captured
from graph.model.order import behind
from graph.model.program import Program
from graph.values import Mask


@dataclass(frozen=True)
class Halves:
    """A model with masks for some of its classes.

    Attributes:
        program: the model.
        places: of the masks.
        boundary: what the tail reads of the head or of the model's inputs.
        rows: those of ``boundary`` with a row for every sample.
        shared: rows of one batch may have masks of their own; else masks are fed with one row.
        nodes: of the tail.
    """

    program: Program
    places: list[Place]
    boundary: list[str]
    rows: list[str]
    shared: bool
    nodes: list[NodeProto]

    @cached_property
    def exposed(self) -> bool:
        """Whether all masks apply to activations of ``rows``."""
        return all(place.use is None and place.tensor in self.rows for place in self.places)

    def head(self) -> ModelProto | None:
        """From inputs to the boundary; None if that is made of inputs alone."""
        program = self.program
        wanted = [name for name in self.boundary if name not in program.inputs]
        nodes = behind(program.nodes, wanted)
        read = {name for node in nodes for name in [*node.input, *captured(node)]}
        inputs = [value for value in program.graph.input if value.name in program.inputs and value.name in read]
        return _model(program, nodes, inputs, [ValueInfoProto(name=name) for name in wanted]) if wanted else None

    def tail(self, dtypes: dict[str, np.dtype[Any]]) -> ModelProto:
        """From the boundary and the masks to those outputs that the masks reach.

        Args:
            dtypes: of the tensors of the boundary.
        """
        program = self.program
        inputs = [self._declared(name, dtypes[name]) for name in self.boundary]
        for place in self.places:
            shape: list[int | None] = [1] * place.rank
            shape[place.axis] = place.classes.size
            if place.axis:
                shape[0] = None if self.shared else 1
            inputs.append(_value(place.name, place.dtype, shape))
        made = {name for node in self.nodes for name in node.output}
        outputs = [value for value in program.graph.output if value.name in made]
        return _model(program, self.nodes, inputs, outputs)

    def _declared(self, name: str, dtype: np.dtype[Any]) -> ValueInfoProto:
        if name not in self.program.shapes:
            return _value(name, dtype, None)
        any_size = any(axis for each in self.program.inputs for axis in self.program.dynamic.get(each, {}))
        open_axes = self.program.dynamic.get(name, {})
        shape = enumerate(self.program.shapes[name])  # found at sizes so small that some do not seem to depend on them
        return _value(name, dtype, [None if any_size or axis in open_axes else size for axis, size in shape])


def halve(classes: Classes, members: Mask) -> Halves | None:
    """The model with masks for ``members`` [classes, bool]: feeding masks computes what `Classes.zeroed` does.

    None where masks do not get at what makes them: constants of a graph inside a node, two axes of one constant; and
    before opset 7, when operands were not broadcast.
    """
    offer = classes.offers[0]
    if members[offer.family.size :].any() or offer.program.opset < 7:
        return None
    found = places(offer, members[: offer.family.size])
    if found is None:
        return None
    touched = {place.tensor for place in found if place.use is None}
    if any(touched.intersection(captured(node)) for node in offer.program.nodes):
        return None
    return _Cut(offer.program, found).halves()


@dataclass
class _Cut:
    """Where head and tail meet."""

    program: Program
    places: list[Place]
    pulled: set[int] = field(default_factory=set)

    def halves(self) -> Halves:
        program = self.program
        outputs = all(has_rows(program, name) for name in program.outputs)
        shared = outputs and all(place.by_row for place in self.places)
        while True:
            nodes = self.tail()
            boundary = self.boundary(nodes)
            mixed = [name for name in boundary if not has_rows(program, name) and not self.fixed(name)]
            if not shared or not mixed:
                break
            if any(name in program.inputs for name in mixed):
                shared = False
            self.pulled = {program.makers[name] for name in mixed} | self.pulled if shared else set()
        rows = [name for name in boundary if has_rows(program, name)]
        return Halves(program, self.places, boundary, rows, shared, nodes)

    def fixed(self, name: str) -> bool:
        """Whether a tensor is the same for any number of samples."""
        return name in self.program.shapes and not self.program.dynamic.get(name) and name not in self.program.probed

    def tail(self) -> list[NodeProto]:
        """The nodes that a mask reaches, with the masks multiplied in, and those that are ``pulled``."""
        on = {place.tensor: place for place in self.places if place.use is None}
        renamed = {name: place.masked for name, place in on.items()}
        slots = {place.use: place.masked for place in self.places if place.use is not None}
        nodes = [_times(place) for place in self.places if place.use is not None]
        reached = {node.output[0] for node in nodes}
        for index, node in enumerate(self.program.nodes):
            inputs = [slots.get((index, slot), renamed.get(name, name)) for slot, name in enumerate(node.input)]
            if index in self.pulled or reached.intersection([*inputs, *captured(node)]):
                copy = NodeProto()
                copy.CopyFrom(node)
                del copy.input[:]
                copy.input.extend(inputs)
                nodes.append(copy)
                reached.update(name for name in node.output if name and index not in self.pulled)
            for name in node.output:
                if name in on:
                    nodes.append(_times(on[name]))
                    reached.add(renamed[name])
        return nodes

    def boundary(self, nodes: Sequence[NodeProto]) -> list[str]:
        made = {name for node in nodes for name in node.output}.union(place.name for place in self.places)
        read = (name for node in nodes for name in [*node.input, *captured(node)])
        return list(dict.fromkeys(name for name in read if name and name not in made | self.program.constants.keys()))


def _times(place: Place) -> NodeProto:
    return helper.make_node("Mul", [place.tensor, place.name], [place.masked])


def _model(
    program: Program, nodes: Sequence[NodeProto], inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]
) -> ModelProto:
    """``nodes`` with the constants that they read."""
    made = {name for node in nodes for name in node.output}
    read = {name for node in nodes for name in [*node.input, *captured(node)]} - made
    constants = behind(program.nodes, read & program.constants.keys())
    read |= {name for node in constants for name in [*node.input, *captured(node)]}
    old = program.graph
    graph = GraphProto(name=old.name, node=[*constants, *nodes], input=inputs, output=outputs)
    graph.initializer.extend(tensor for tensor in old.initializer if tensor.name in read)
    graph.sparse_initializer.extend(tensor for tensor in old.sparse_initializer if tensor.values.name in read)
    version = max(program.model.ir_version, 4)  # from which on initializers need not be inputs
    return ModelProto(ir_version=version, opset_import=program.model.opset_import, graph=graph)


def _value(name: str, dtype: np.dtype[Any], shape: Sequence[int | None] | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)
