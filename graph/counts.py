"""How big a model is: parameters, multiply-accumulates, bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import NodeProto

from graph.io import files
from graph.program import Program, key
from graph.rules import signature

SUMS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"}


@dataclass(frozen=True)
class Size:
    """A model in figures.

    Attributes:
        parameters: floating-point elements of initializers and Constant nodes.
        macs: multiply-accumulates of convolutions and matrix products for one sample (64 where a size is dynamic).
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
    return Size(parameters(program), macs(program))


def parameters(program: Program) -> int:
    """Floating-point elements that the model stores."""
    names = [tensor.name for tensor in program.model.graph.initializer]
    names += [node.output[0] for node in program.nodes if key(node) == "Constant"]
    return sum(
        program.constants[name].size
        for name in names
        if name in program.constants and np.issubdtype(program.constants[name].dtype, np.floating)
    )


def macs(program: Program) -> int:
    """Multiply-accumulates for one sample."""
    total = sum(node_macs(program, node) for node in program.nodes)
    batches = [program.shapes[name][0] for name in program.inputs if program.shapes.get(name)]
    return total // (batches[0] if batches and program.batched else 1)


def node_macs(program: Program, node: NodeProto) -> int:
    """Multiply-accumulates of one node for the whole probe batch; 0 for everything that is no sum of products."""
    if key(node) not in SUMS:
        return 0
    out = program.shapes.get(node.output[0])
    operands = [program.shapes.get(name) for name in node.input[:2]]
    if out is None or None in operands or all(name in program.constants for name in node.input[:2]):
        return 0
    data, weight = (shape for shape in operands if shape is not None)
    match key(node):
        case "Conv":  # every output element sums over one filter
            return int(np.prod(out)) * int(np.prod(weight[1:]))
        case "ConvTranspose":  # every input element is spread over one filter
            return int(np.prod(data)) * int(np.prod(weight[1:]))
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
    return int(np.prod(list(sizes.values()), dtype=np.int64))
