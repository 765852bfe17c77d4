"""How big a model is: parameters, multiply-accumulates, bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from onnx import GraphProto, NodeProto, TensorProto

from graph.files.io import files
from graph.model.constants import Stored, constant_of, type_of
from graph.model.evaluate import Array
from graph.model.nodes import everywhere, key
from graph.model.program import Program
from graph.tracing.rules import signature

SUMS = {"Attention", "Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"}
FLOATS = {number for name, number in TensorProto.DataType.items() if "FLOAT" in name or name == "DOUBLE"}


@dataclass(frozen=True)
class Size:
    """A model in figures.

    Attributes:
        parameters: floating-point elements of initializers and Constant nodes, those of graphs inside nodes included.
        macs: multiply-accumulates of convolutions and matrix products for one sample (64 where a size is dynamic): of
            an If those of its costlier branch, of a Loop or Scan those of one iteration.
        bytes: of its file and of its external data; 0 where there is no file.
        sha256: of its file.
    """

    parameters: int
    macs: int
    bytes: int = 0
    sha256: str = ""

    def of(self, path: Path) -> Size:
        """The same with the bytes and the hash of the model's file."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return replace(self, bytes=sum(each.stat().st_size for each in files(path)), sha256=sha256)


def size(program: Program) -> Size:
    """Count a model."""
    return Size(parameters(program.graph), macs(program))


def parameters(graph: GraphProto) -> int:
    """Floating-point elements that a graph and those inside its nodes store."""
    return sum(sum(stored(each).values()) for each in everywhere(graph))


def stored(graph: GraphProto) -> dict[str, int]:
    """Sizes of the constants that one graph stores: floats, and integers that are dequantised."""
    values: dict[str, Array | Stored] = {tensor.name: tensor for tensor in graph.initializer}
    values |= {tensor.values.name: tensor for tensor in graph.sparse_initializer}
    values |= {node.output[0]: constant_of(node) for node in graph.node if key(node) == "Constant"}
    kinds = {name: type_of(value).tensor_type for name, value in values.items()}
    numbers = {node.input[0] for node in graph.node if key(node) == "DequantizeLinear"}
    numbers.update(name for name, kind in kinds.items() if kind.elem_type in FLOATS)
    return {name: prod(dim.dim_value for dim in kind.shape.dim) for name, kind in kinds.items() if name in numbers}


def macs(program: Program) -> int:
    """Multiply-accumulates for one sample."""
    batches = [program.shapes[name][0] for name in program.inputs if program.shapes.get(name)]
    return _macs(program) // (batches[0] if batches and program.batched else 1)


def _macs(program: Program) -> int:
    """Multiply-accumulates for the whole probe batch."""
    inside: dict[int, int] = {}
    for (index, _), body in program.bodies.items():
        inside[index] = max(inside.get(index, 0), _macs(body))
    return sum(inside.values()) + sum(node_macs(program, node) for node in program.nodes)


def node_macs(program: Program, node: NodeProto) -> int:
    """Multiply-accumulates of one node for the whole probe batch; 0 for everything that is no sum of products."""
    if key(node) not in SUMS:
        return 0
    out = program.shapes.get(node.output[0])
    operands = [program.shapes.get(name) for name in node.input[:2]]
    if out is None or None in operands or len(operands) < 2:
        return 0
    if all(name in program.constants for name in node.input[:2]):
        return 0
    data, weight = (shape for shape in operands if shape is not None)
    match key(node):
        case "Attention":  # queries with keys, and weights with values
            return (prod(data) + prod(out)) * weight[-2]
        case "Conv":  # every output element sums over one filter
            return prod(out) * prod(weight[1:])
        case "ConvTranspose":  # every input element is spread over one filter
            return prod(data) * prod(weight[1:])
    found = signature(program, node)
    if found is None:
        return 0
    sizes = {
        letter: max(
            shape[axis]
            for shape, axes in zip((data, weight), found.operands, strict=False)
            for axis, other in enumerate(axes)
            if other == letter
        )
        for letter in {letter for axes in found.operands[:2] for letter in axes}
    }
    return prod(sizes.values())
