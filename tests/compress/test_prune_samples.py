"""Samples of models with several inputs, and what their answers are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import graph
from compress.prune import CRITERIA, Context
from compress.prune.calibration import Calibration, fed
from compress.prune.distributions import Distributions
from compress.prune.masked import opened
from graph.candidates.classes import classes
from runtime import Settings

ONE = Settings(threads=1)
SAMPLES = 65  # a batch and one more


def recurrent(inputs: str) -> ModelProto:
    """A network with a state [2, N, 3], which is no output of a sample by itself."""
    text = f"""<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => (float[2,N,3] hn, float[N,5] y) {{
        a = Gemm(x, w0) b = Relu(a) s = ReduceSum<keepdims = 0>(h, zero) c = Concat<axis = 1>(b, s)
        y = Gemm(c, w1) hn = Tanh(h) }}"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    arrays = {"w0": rng.normal(size=(4, 8)), "w1": 9 * rng.normal(size=(11, 5))}
    tensors = [numpy_helper.from_array(each.astype(np.float32), name) for name, each in arrays.items()]
    model.graph.initializer.extend([*tensors, numpy_helper.from_array(np.array([0]), "zero")])
    return model


@pytest.mark.parametrize("inputs", ["float[N,4] x, float[2,N,3] h", "float[2,N,3] h, float[N,4] x"])
def test_states_are_no_samples(inputs: str) -> None:
    model = recurrent(inputs)
    x = np.random.default_rng(1).normal(size=(SAMPLES, 4)).astype(np.float32)
    data = fed(opened(model, ONE), {"h": np.array(0.5, np.float32), "x": x}, SAMPLES)
    assert data.rows == [64, 1] and {name: len(array) for name, array in data.answers.items()} == {"y": SAMPLES}
    assert not data.divisible
    offered = classes(graph.analyse(model))
    assert len(offered) == 8
    scores = CRITERIA.get("kl")(offered, Context(data=data, settings=ONE))
    assert (scores > 0).all()


@pytest.mark.parametrize("shape, axis", [((6, 5), 1), ((6, 4, 3, 3), 1), ((6, 7, 2), 2), ((6, 3, 3, 4), 3)])
@pytest.mark.parametrize("normalised", [False, True])
def test_kl_by_its_definition(shape: tuple[int, ...], axis: int, normalised: bool) -> None:
    """Classes lie along the second axis, or along the last one if probabilities do; logits or not."""
    rng = np.random.default_rng(0)
    axis = axis if normalised else 1
    before, after = (2 * rng.normal(size=shape) for _ in range(2))
    p, q = (np.exp(each) / np.exp(each).sum(axis, keepdims=True) for each in (before, after))
    told = Distributions.of(Calibration([], [], {"y": p if normalised else before}))
    found = told.divergence({"y": q if normalised else after}, np.arange(6))
    expected = (q * np.log(q / p)).sum(axis).reshape(6, -1).mean(1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
