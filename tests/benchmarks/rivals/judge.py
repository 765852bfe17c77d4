"""The judge of every tool: ONNX Runtime with all graph optimisations off; and a count of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

Array = NDArray[np.float32]

FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}

#: Relative errors up to here are the rounding of reordered float32 sums.
NOISE = 1e-4


def parameters(model: onnx.ModelProto) -> int:
    """Floating-point elements in initializers and Constant nodes, however they are stored."""
    constants = [node for node in model.graph.node if node.op_type == "Constant"]
    tensors = list(model.graph.initializer)
    tensors += [attribute.t for node in constants for attribute in node.attribute if attribute.name == "value"]
    return sum(int(np.prod(tensor.dims, dtype=np.int64)) for tensor in tensors if tensor.data_type in FLOATS)


def feed(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Standard normal inputs; a dynamic size is 2."""
    rng = np.random.default_rng(seed)
    stored = {tensor.name for tensor in model.graph.initializer}
    shapes = {
        value.name: [size.dim_value or 2 for size in value.type.tensor_type.shape.dim]
        for value in model.graph.input
        if value.name not in stored
    }
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def run(model: onnx.ModelProto | Path) -> list[Array]:
    """The model's outputs on `feed`."""
    loaded = onnx.load(model) if isinstance(model, Path) else model
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(loaded.SerializeToString(), options, providers=providers)
    outputs: list[Array] = session.run(None, feed(loaded))
    return outputs


def error(reference: list[Array], outputs: list[Array]) -> float:
    """Largest absolute difference by largest absolute value, of the worst output; infinite if shapes differ or NaN."""
    if [y.shape for y in reference] != [y.shape for y in outputs]:
        return float("inf")
    pairs = zip(reference, outputs, strict=True)
    errors = [float(np.abs(y - x).max() / max(np.abs(y).max(), 1e-30)) for y, x in pairs]
    return max(errors) if np.isfinite(errors).all() else float("inf")
