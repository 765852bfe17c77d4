"""Step 0: the model as the compiler sees it: nodes in order, a concrete shape for every tensor, the constants.

Dynamic sizes are given a probe size, so that every shape is a tuple of integers. A size that was probed is
not a constant: whatever the model computes from it stays computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, TypeProto, defs, helper, numpy_helper
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError, infer_node_outputs

from graph.errors import ModelError
from graph.evaluate import Array, CannotEvaluate, evaluate

Shape = tuple[int, ...]

PROBE_BATCH = 2  # else 1
PROBE_SIZE = 64
SMALL = 4096  # tensors up to this size may be shapes or scales, so their value is followed


class Constants(Mapping[str, Array]):
    """Constant tensors by name, decoded on first use."""

    def __init__(self, initializers: Mapping[str, TensorProto]) -> None:
        self._stored = dict(initializers)
        self._decoded: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._decoded:
            self._decoded[name] = numpy_helper.to_array(self._stored[name])
        return self._decoded[name]

    def __setitem__(self, name: str, value: Array) -> None:
        self._decoded[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._decoded or name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter({**self._stored, **self._decoded})

    def __len__(self) -> int:
        return len({**self._stored, **self._decoded})


@dataclass
class Program:
    """A model with everything that is known about it without knowing its input.

    Attributes:
        model: the model itself; never changed here.
        nodes: its nodes, producers before consumers, without those that no output depends on.
        shapes: the concrete shape of every tensor that has one, dynamic sizes replaced by probe sizes.
        constants: initializers and whatever is computed from them alone.
        probed: small integer tensors that are known at the probe sizes only.
        dynamic: per tensor, the axes whose size depends on what is fed.
    """

    model: ModelProto
    nodes: list[NodeProto]
    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: Constants = field(default_factory=lambda: Constants({}))
    probed: dict[str, Array] = field(default_factory=dict)
    dynamic: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def opset(self) -> int:
        """Version of the default operator set."""
        return self.version("")

    def version(self, domain: str) -> int:
        """Version of an operator set that the model imports."""
        same = ("", "ai.onnx") if domain in ("", "ai.onnx") else (domain,)
        return next((entry.version for entry in self.model.opset_import if entry.domain in same), 1)

    @cached_property
    def inputs(self) -> list[str]:
        """Names of the inputs that a user feeds (old files list their weights as inputs too)."""
        weights = {tensor.name for tensor in self.model.graph.initializer}
        return [value.name for value in self.model.graph.input if value.name not in weights]

    @cached_property
    def batched(self) -> bool:
        """Whether the first axis of the first input has a dynamic size, which was probed with a batch of 2."""
        first = next((value for value in self.model.graph.input if value.name in self.inputs), None)
        dims = first.type.tensor_type.shape.dim if first is not None else []
        return len(dims) > 0 and dims[0].dim_value <= 0

    @cached_property
    def consumers(self) -> dict[str, list[int]]:
        """Indices of the nodes that read a tensor, directly or inside a sub-graph; graph outputs are not listed."""
        readers: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for name in dict.fromkeys([*node.input, *captured(node)]):
                if name:
                    readers.setdefault(name, []).append(index)
        return readers

    def evaluate(self, node: NodeProto, inputs: list[Array | None]) -> list[Array]:
        """Outputs of ``node`` on the given arrays, at this model's opset."""
        return evaluate(node, self.model.opset_import, inputs)

    def find_dynamic(self, other: Program) -> None:
        """Note which sizes are different in the same model read with other probe sizes."""
        for name, shape in self.shapes.items():
            found = other.shapes.get(name, ())
            axes = tuple(axis for axis, (one, two) in enumerate(zip(shape, found, strict=False)) if one != two)
            if axes:
                self.dynamic[name] = axes

    def known(self, name: str) -> Array | None:
        """The value of a tensor that is known, be it at the probe sizes only."""
        return self.constants[name] if name in self.constants else self.probed.get(name)


def read(model: ModelProto) -> Program:
    """Order the nodes, find every shape and fold what depends on constants alone.

    Files with a dynamic batch and a batch of 1 baked into a Reshape are common; they are read for that batch.

    Raises:
        ModelError: the graph has a cycle, a tensor without producer, or shapes that contradict each other.
    """
    try:
        program = _read(model, PROBE_BATCH, PROBE_SIZE)
    except ModelError:
        program = _read(model, 1, PROBE_SIZE)
    inputs = [value for value in model.graph.input if value.name in program.inputs]
    if any(dim.dim_value <= 0 for value in inputs for dim in value.type.tensor_type.shape.dim):
        with contextlib.suppress(ModelError):  # of a model that takes these sizes only, nothing is dynamic
            program.find_dynamic(_read(model, PROBE_BATCH + 1, PROBE_SIZE + 32))
    return program


def _read(model: ModelProto, batch: int, size: int) -> Program:
    graph = model.graph
    program = Program(model, _ordered(model), constants=Constants({t.name: t for t in graph.initializer}))
    types: dict[str, TypeProto] = {}
    for tensor in graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    for value in graph.input:
        types.setdefault(value.name, _probe(value.type, batch, size))
    declared = {value.name: _probe(value.type, batch, size) for value in [*graph.value_info, *graph.output]}
    for node in program.nodes:
        _infer(program, node, types, declared)
    for name, kind in types.items():
        shape = _shape(kind)
        if shape is not None:
            program.shapes[name] = shape
    return program


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes of ``node`` as Python values."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def key(node: NodeProto) -> str:
    """How the tables call the op of ``node``."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def captured(node: NodeProto) -> list[str]:
    """Names that sub-graphs of ``node`` read from outside."""
    names: list[str] = []
    for entry in node.attribute:
        bodies = [entry.g] if entry.type == AttributeProto.GRAPH else list(entry.graphs)
        for body in bodies:
            inner = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
            for child in body.node:
                names += [name for name in [*child.input, *captured(child)] if name and name not in inner]
                inner.update(child.output)
            names += [value.name for value in body.output if value.name not in inner]
    return list(dict.fromkeys(names))


def label(node: NodeProto) -> str:
    """How a node is called in messages: its op and its name, or its first output where it has none."""
    return f"{node.op_type}:{node.name or next((name for name in node.output if name), '?')}"


def _ordered(model: ModelProto) -> list[NodeProto]:
    graph = model.graph
    ready = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input} | {""}
    ready |= {tensor.values.name for tensor in graph.sparse_initializer}
    pending, ordered = list(graph.node), []
    while pending:
        left = []
        for node in pending:
            if ready.issuperset(node.input) and ready.issuperset(captured(node)):
                ready.update(node.output)
                ordered.append(node)
            else:
                left.append(node)
        if len(left) == len(pending):
            missing = next(name for name in [*left[0].input, *captured(left[0])] if name not in ready)
            raise ModelError(
                f"node {label(left[0])} reads '{missing}', which nothing computes before it (or in a cycle)"
            )
        pending = left
    absent = [value.name for value in graph.output if value.name not in ready]
    if absent:
        raise ModelError(f"graph output '{absent[0]}' is computed by no node")
    needed, alive = {value.name for value in graph.output}, []
    for node in reversed(ordered):
        if not needed.isdisjoint(node.output):
            needed.update(node.input, captured(node))
            alive.append(node)
    return alive[::-1]


def _probe(kind: TypeProto, batch: int, size: int) -> TypeProto:
    """The type with every dynamic size replaced: the first axis by ``batch``, others by ``size``."""
    probed = TypeProto()
    probed.CopyFrom(kind)
    if probed.WhichOneof("value") == "tensor_type" and probed.tensor_type.HasField("shape"):
        for axis, dim in enumerate(probed.tensor_type.shape.dim):
            if not dim.HasField("dim_value") or dim.dim_value <= 0:
                dim.dim_value = batch if axis == 0 else size
    return probed


def _shape(kind: TypeProto) -> Shape | None:
    if kind.WhichOneof("value") != "tensor_type" or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def _infer(program: Program, node: NodeProto, types: dict[str, TypeProto], declared: Mapping[str, TypeProto]) -> None:
    names = [name for name in node.input if name]
    data: dict[str, TensorProto] = {}
    for name in names:  # target shapes, scales and the like decide output shapes
        value = program.known(name) if _is_small(types.get(name)) else None
        if value is not None:
            data[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
    found: dict[str, TypeProto] = {}
    try:
        if not all(name in types for name in names):
            raise LookupError("an input behind an op that onnx does not know")
        schema = defs.get_schema(node.op_type, program.version(node.domain), node.domain)
        found = infer_node_outputs(
            schema,
            node,
            {name: types[name] for name in names if name in types},
            data,
            opset_imports=list(program.model.opset_import),
            ir_version=program.model.ir_version,
        )
    except (defs.SchemaError, LookupError):
        pass  # its outputs have the shapes that the file declares, if any
    except (InferenceError, ValidationError) as error:
        if not captured(node):  # what a sub-graph captures is out of the inference's sight
            raise ModelError(f"node {label(node)} has inconsistent shapes: {_first_line(error)}") from error
    if key(node) == "Reshape":
        sizes = _elements(found.get(node.output[0])), _elements(types.get(names[0]))
        if None not in sizes and sizes[0] != sizes[1]:
            raise ModelError(f"node {label(node)} has inconsistent shapes: {sizes[1]} elements become {sizes[0]}")
    for name in node.output:
        if name in found:
            types[name] = found[name]
        elif name in declared:
            types[name] = declared[name]
    _fold(program, node, names, types)


def _fold(program: Program, node: NodeProto, names: list[str], types: dict[str, TypeProto]) -> None:
    """Follow the value of a node that depends on constants alone, or of a small integer one at the probe sizes."""
    small = all(_is_small(types.get(name)) and _is_integer(types[name]) for name in node.output if name)
    if key(node) == "Shape" and _shape(types[node.input[0]]) is not None:
        inputs: list[Array | None] = [np.empty(_shape(types[node.input[0]]) or (), np.bool_)]
    elif not names and key(node) != "Constant":
        return  # random ops
    else:
        if any(entry.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for entry in node.attribute):
            return
        static = all(name in program.constants for name in names)
        if node.domain not in ("", "ai.onnx") or node.op_type in NOT_A_FUNCTION:
            return
        if not static and not (small and all(program.known(name) is not None for name in names)):
            return
        inputs = [program.known(name) if name else None for name in node.input]
    try:
        outputs = program.evaluate(node, inputs)
    except CannotEvaluate:
        return
    static = key(node) != "Shape" and all(name in program.constants for name in names)
    for name, value in zip((name for name in node.output if name), outputs, strict=True):
        types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))
        if static:
            program.constants[name] = value
        elif small:
            program.probed[name] = value


NOT_A_FUNCTION = {
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
}


def _elements(kind: TypeProto | None) -> int | None:
    shape = None if kind is None else _shape(kind)
    return None if shape is None else int(np.prod(shape))


def _is_small(kind: TypeProto | None) -> bool:
    shape = _shape(kind) if kind is not None else None
    return shape is not None and int(np.prod(shape)) <= SMALL


def _is_integer(kind: TypeProto) -> bool:
    return kind.tensor_type.elem_type in (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].removeprefix("[ShapeInferenceError] ")
