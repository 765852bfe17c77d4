"""Types of tensors at concrete sizes: onnx's inference for one node at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, defs, helper, numpy_helper
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError, infer_node_outputs

from graph.errors import ModelError
from graph.model.evaluate import Array
from graph.model.nodes import key, label

Shape = tuple[int, ...]

INTEGERS = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}
#: They keep their input's shape, which onnx does not infer; before opset 21 it refuses the first one altogether.
KEEPING = {"GroupNormalization", "MeanVarianceNormalization"}
SMALL = 4096  # integer tensors up to this size may be shapes or indices, so their value is followed
SCALES = 16  # other tensors up to this size may be the scales of a Resize


@dataclass
class Sizes:
    """One reading of a graph: every open size is replaced by a probe size, so that shapes are tuples of integers.

    Attributes:
        batch: what an open first axis is read as.
        size: what every other open axis is read as, unless it has the name of one that is a first axis elsewhere.
        symbols: what named open sizes are read as.
        types: of every tensor that has a known one.
        shapes: of every tensor whose sizes are all known.
        probed: small integer tensors that are known at these sizes only.
    """

    batch: int
    size: int
    symbols: dict[str, int] = field(default_factory=dict)
    types: dict[str, TypeProto] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    probed: dict[str, Array] = field(default_factory=dict)

    def inside(self, names: Iterable[str]) -> Sizes:
        """The same reading of a graph inside a node, which reads ``names`` from outside."""
        found = Sizes(self.batch, self.size, self.symbols)
        for name in names:
            if name in self.types:
                found.put(name, self.types[name])
            if name in self.probed:
                found.probed[name] = self.probed[name]
        return found

    def put(self, name: str, kind: TypeProto) -> None:
        """File the type of a tensor."""
        self.types[name] = kind
        shape = shape_of(kind)
        if shape is not None:
            self.shapes[name] = shape

    def feed(self, values: Sequence[ValueInfoProto]) -> None:
        """File the types of what is fed, every open size replaced."""
        dims = [list(value.type.tensor_type.shape.dim) for value in values]
        self.symbols = {dim.dim_param: self.size for row in dims for dim in row}
        self.symbols.update((row[0].dim_param, self.batch) for row in dims if row)
        self.symbols.pop("", None)
        for value in values:
            kind = self.close(value.type)
            for axis, dim in enumerate(kind.tensor_type.shape.dim):
                if dim.dim_value <= 0:
                    dim.dim_value = self.size if axis else self.batch
            self.put(value.name, kind)

    def close(self, kind: TypeProto) -> TypeProto:
        """The type with those open sizes replaced that have the name of one that is fed."""
        closed = TypeProto()
        closed.CopyFrom(kind)
        for dim in closed.tensor_type.shape.dim:
            if dim.dim_param in self.symbols:
                dim.dim_value = self.symbols[dim.dim_param]
        return closed

    def is_integer(self, name: str) -> bool:
        """Whether a tensor holds integers or truth values."""
        return name in self.types and self.types[name].tensor_type.elem_type in INTEGERS

    def is_small(self, name: str) -> bool:
        """Whether a tensor may be a shape, indices, scales or the like."""
        return name in self.shapes and prod(self.shapes[name]) <= (SMALL if self.is_integer(name) else SCALES)


def infer(
    model: ModelProto, node: NodeProto, version: int, sizes: Sizes, known: Mapping[str, Array]
) -> Mapping[str, TypeProto]:
    """Types of the outputs of ``node``; none if onnx does not know the op, or the type of an input is not known.

    Args:
        model: the model, for its opsets.
        node: one without graphs inside.
        version: of the operator set that the op belongs to.
        sizes: what is known of the inputs' types.
        known: values of inputs that may decide shapes.

    Raises:
        ModelError: the shapes of the inputs contradict each other.
    """
    names = [name for name in node.input if name]
    domain = "" if node.domain == "ai.onnx" else node.domain
    if not all(name in sizes.types for name in names) or not defs.has(node.op_type, version, domain):
        return {}
    if key(node) in KEEPING:
        return {node.output[0]: sizes.types[names[0]]}
    try:
        found: Mapping[str, TypeProto] = infer_node_outputs(
            defs.get_schema(node.op_type, version, domain),
            node,
            {name: sizes.types[name] for name in names},
            {name: numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in known.items()},
            opset_imports=list(model.opset_import),
            ir_version=model.ir_version,
        )
    except (InferenceError, ValidationError) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("[ShapeInferenceError] ")
        raise ModelError(f"node {label(node)} has inconsistent shapes: {reason}") from error
    if key(node) == "Reshape":
        before, after = sizes.shapes.get(names[0]), shape_of(found[node.output[0]])
        if before is not None and after is not None and prod(before) != prod(after):
            raise ModelError(
                f"node {label(node)} has inconsistent shapes: {prod(before)} elements become {prod(after)}"
            )
    return {name: kind for name, kind in found.items() if is_typed(kind)}


def is_typed(kind: TypeProto) -> bool:
    """Whether onnx found out what the elements are, down to those of the tensors in a sequence."""
    held = kind.WhichOneof("value")
    if held in ("sequence_type", "optional_type"):
        return is_typed(getattr(kind, held).elem_type)
    return bool(kind.tensor_type.elem_type) if held == "tensor_type" else held is not None


def shape_of(kind: TypeProto) -> Shape | None:
    """The shape that a type declares, if it is a tensor's and no size is open."""
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple([dim.dim_value for dim in dims]) if all(dim.HasField("dim_value") for dim in dims) else None


def tensor_type(dtype: int, shape: Iterable[int]) -> TypeProto:
    """The type of a tensor with elements of onnx's type ``dtype``."""
    found: TypeProto = helper.make_tensor_type_proto(dtype, list(shape))
    return found


def common(one: TypeProto, other: TypeProto) -> TypeProto:
    """What two types agree on: the shape, the rank with some sizes open, or the type of the elements alone."""
    if one == other or not (one.HasField("tensor_type") and other.HasField("tensor_type")):
        return one
    found = TypeProto()
    found.CopyFrom(one)
    theirs = other.tensor_type.shape.dim
    if not other.tensor_type.HasField("shape") or len(found.tensor_type.shape.dim) != len(theirs):
        found.tensor_type.ClearField("shape")
    for dim, same in zip(found.tensor_type.shape.dim, theirs, strict=False):
        if dim != same:
            dim.Clear()
    return found
