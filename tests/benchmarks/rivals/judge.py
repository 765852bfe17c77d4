"""The judge of every tool: ONNX Runtime with all graph optimisations off, and a count of what a file stores."""

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
    tensors = list(model.graph.initializer)
    tensors += [a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute if a.name == "value"]
    return sum(int(np.prod(tensor.dims, dtype=np.int64)) for tensor in tensors if tensor.data_type in FLOATS)


def feed(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Standard normal inputs; a dynamic size is 2."""
    rng = np.random.default_rng(seed)
    stored = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: rng.standard_normal([d.dim_value or 2 for d in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in model.graph.input
        if value.name not in stored
    }


def run(model: onnx.ModelProto | Path) -> list[Array]:
    """The model's outputs on `feed`."""
    loaded = onnx.load(model) if isinstance(model, Path) else model
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(loaded.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, feed(loaded))
    return outputs


def error(reference: list[Array], outputs: list[Array]) -> float:
    """Largest absolute difference by largest absolute value, the worst output counts; infinite if shapes differ or NaN."""
    if [y.shape for y in reference] != [y.shape for y in outputs]:
        return float("inf")
    worst = max(
        float(np.abs(y - x).max() / max(np.abs(y).max(), 1e-30)) for y, x in zip(reference, outputs, strict=True)
    )
    return worst if np.isfinite(worst) else float("inf")
