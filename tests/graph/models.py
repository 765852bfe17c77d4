"""Small ONNX models for the tests, and the judge of them: ONNX Runtime without any optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper, parser, shape_inference

import graph
from graph.model.program import Program
from graph.model.reader import read

Array = NDArray[Any]

RELATIVE, ABSOLUTE = 1e-5, 1e-6
SIZES = ((1, 8), (3, 12))  # batch, height and width that models are compared at


def build(text: str, *, opset: int = 20, ir: int = 10, domains: tuple[str, ...] = (), **weights: Array) -> ModelProto:
    """A model from onnx's text form without its header, e.g. ``(float[N,3,8,8] x) => (y) {y = Conv(x, w)}``.

    Every shape that can be inferred is declared, so that tests see whether declarations stay right.
    """
    body = parser.parse_graph(f"g {text}")
    body.initializer.extend(
        numpy_helper.from_array(np.asarray(value, order="C"), name) for name, value in weights.items()
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    inferred = shape_inference.infer_shapes(
        helper.make_model(body, ir_version=10, opset_imports=opsets), data_prop=True
    )
    inferred.ir_version = ir
    if ir < 4:  # weights used to be inputs too
        inferred.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            for tensor in body.initializer
        )
    for value in inferred.graph.output:
        assert value.type.tensor_type.elem_type, f"declare the type of output {value.name}"
    return inferred


class Weights:
    """A seeded source of weights; ``zero`` names the output channels (first axis) that are zero."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int, zero: tuple[int, ...] | slice = (), axis: int = 0) -> Array:
        array = self.rng.standard_normal(shape).astype(np.float32)
        if zero:
            np.moveaxis(array, axis, 0)[list(zero) if isinstance(zero, tuple) else zero] = 0
        return array

    def norm(
        self, size: int, zero: tuple[int, ...] = (), shift: Mapping[int, float] | None = None, prefix: str = ""
    ) -> dict[str, Array]:
        """Parameters of a BatchNormalization: gamma is zero in ``zero`` and beta there is 0, or what ``shift`` says."""
        gamma, beta = self(size, zero=zero), self(size, zero=zero)
        for place, value in (shift or {}).items():
            beta[place] = value
        var = self.rng.uniform(0.5, 2.0, size).astype(np.float32)
        return {f"{prefix}g": gamma, f"{prefix}b": beta, f"{prefix}m": self(size), f"{prefix}v": var}


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feeds(model: ModelProto, *, batch: int = 2, size: int = 8, seed: int = 0) -> dict[str, Array]:
    """Standard normal inputs; a dynamic first axis gets ``batch``, other dynamic axes get ``size``."""
    rng = np.random.default_rng(seed)
    weights = {tensor.name for tensor in model.graph.initializer}
    result: dict[str, Array] = {}
    for value in model.graph.input:
        if value.name in weights:
            continue
        dims = value.type.tensor_type.shape.dim
        shape = [
            dim.dim_value if dim.HasField("dim_value") else (batch if axis == 0 else size)
            for axis, dim in enumerate(dims)
        ]
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        drawn = rng.standard_normal(shape) if kind.kind == "f" else rng.integers(0, 2, shape)
        result[value.name] = drawn.astype(kind)
    return result


def run(model: ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name."""
    judge = session(model)
    names = [value.name for value in judge.get_outputs()]
    return dict(zip(names, judge.run(names, dict(inputs)), strict=True))


def runs(model: ModelProto) -> bool:
    """Whether the model is valid and can be run at every size that it would be compared at."""
    try:
        onnx.checker.check_model(model, full_check=True)
        judge = session(model)
        for batch, size in SIZES:
            judge.run(None, feeds(model, batch=batch, size=size))
    except Exception:  # onnx and onnxruntime have many kinds
        return False
    return True


def exposed(model: ModelProto) -> ModelProto:
    """The model with every tensor whose type is declared among its outputs."""
    result = ModelProto()
    result.CopyFrom(model)
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    outputs = {value.name for value in model.graph.output}
    result.graph.output.extend(value for value in inferred.graph.value_info if value.name not in outputs)
    return result


def assert_same(model: ModelProto, slim: ModelProto) -> None:
    """``slim`` is valid, declares its shapes truly, and computes what ``model`` does for any batch and image size."""
    onnx.checker.check_model(slim, full_check=True)
    before, after = session(model), session(exposed(slim))
    assert [value.name for value in slim.graph.output] == [value.name for value in model.graph.output]
    declared = {value.name: value.type.tensor_type.shape for value in [*slim.graph.value_info, *slim.graph.output]}
    for batch, size in SIZES:
        inputs = feeds(model, batch=batch, size=size, seed=batch)
        expected = dict(zip([o.name for o in before.get_outputs()], before.run(None, inputs), strict=True))
        found = dict(zip([o.name for o in after.get_outputs()], after.run(None, inputs), strict=True))
        for name, value in expected.items():
            assert_close(found[name], value, name)
        assert all(array.size for array in found.values()), "an empty tensor"
        for name, shape in declared.items():
            sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in shape.dim]
            if name in found and sizes:
                real = found[name].shape
                assert len(real) == len(sizes), name
                assert all(said in (None, size) for said, size in zip(sizes, real, strict=True)), (name, sizes, real)


def assert_close(found: Array, expected: Array, name: str = "") -> None:
    """Equal up to the rounding of sums in another order; NaN and infinities in the same places."""
    assert found.shape == expected.shape and found.dtype == expected.dtype, name
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, name)
        return
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite], name)
    bound = RELATIVE * np.abs(expected[finite]).max(initial=0) + ABSOLUTE
    worst = np.abs(found[finite] - expected[finite]).max(initial=0)
    assert worst <= bound, f"{name}: {worst} > {bound}"


def shrunk(model: ModelProto) -> tuple[ModelProto, graph.Certificate]:
    """Shrink, and hold the result against the original."""
    before = model.SerializeToString()
    slim, certificate = graph.shrink(model)
    assert model.SerializeToString() == before, "the input model was changed"
    assert_same(model, slim)
    return slim, certificate


def widths(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of every stored constant, also of those in Constant nodes."""
    return {name: value.shape for name, value in weights(read(model)).items()}


def weights(program: Program) -> dict[str, Array]:
    names = [tensor.name for tensor in program.graph.initializer]
    names += [node.output[0] for node in program.nodes if node.op_type == "Constant"]
    return {name: program.constants[name] for name in names}


def ops(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
