"""What `propagate` calls known is what ONNX Runtime computes, whatever the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import odd_blocks  # noqa: F401  files its blocks
import pytest
import rare_blocks  # noqa: F401  files its blocks, and those of token_blocks
from blocks import BLOCKS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import Array, Weights, build, exposed, feeds, run
from networks import network
from onnx import ModelProto

from graph.model.reader import read
from graph.ops.contraction import absorbs_border
from graph.values import Known, Values, propagate


def proven(model: ModelProto) -> Values:
    """The facts about ``model``, each of them held against ONNX Runtime on several inputs and batch sizes."""
    values = propagate(read(model))
    for seed, batch in ((0, 2), (1, 2), (2, 3)):
        found = run(exposed(model), feeds(model, batch=batch, seed=seed))
        for name, known in values.known.items():
            if name in found and (batch == 2 or known.value.shape[:1] in [(1,), found[name].shape[:1]]):
                assert_known(known, found[name], name)  # else its first axis counts images, of which there were two
    return values


def assert_known(known: Known, found: Array, name: str) -> None:
    mask = np.broadcast_to(known.mask, found.shape)
    said = np.broadcast_to(known.value, found.shape)[mask]
    real = found[mask]
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(said, real, name)
        return
    np.testing.assert_allclose(said, real, rtol=1e-5, atol=1e-6 * max(1, np.abs(real).max(initial=0)), err_msg=name)
    assert not np.any(real[said == 0]), f"{name}: a zero that is none"


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 2**16), st.lists(st.tuples(st.sampled_from(BLOCKS), st.integers(0, 2**16)), min_size=1, max_size=6)
)
def test_facts_about_random_networks(seed: int, blocks: list[tuple[Any, int]]) -> None:
    proven(network(seed, blocks))


IN = "float[N,3,8,8] x"
SOURCE = "a = Conv(x, w, b)"  # channels 1 and 2 are 0.5 and 0


def source() -> dict[str, Array]:
    w = Weights()
    return {"w": w(4, 3, 1, 1, zero=(1, 2)), "b": np.array([0.3, 0.5, 0, -1], np.float32)}


def known(text: str, outputs: str = "y", opset: int = 20, **weights: Array) -> list[float | None]:
    """Per channel of y, its value where it is one number."""
    values = proven(build(f"({IN}) => ({outputs}) {{ {SOURCE} {text} }}", opset=opset, **source(), **weights))
    if "y" not in values.program.shapes or "y" not in values.known:
        return []
    mask, value = values.along("y", 1)
    return [float(v) if m else None for m, v in zip(mask, value, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y = Identity(a)", [None, 0.5, 0, None]),
        ("y = Sigmoid(a)", [None, pytest.approx(0.6224593), 0.5, None]),
        ("y = HardSigmoid<alpha=0.25>(a)", [None, 0.625, 0.5, None]),
        ("y = Cos(a)", [None, pytest.approx(np.cos(0.5)), 1, None]),
        ("z = Constant<value = float {0.25}>() y = Clip(a, z)", [None, 0.5, 0.25, None]),
        ("y = Mul(a, a)", [None, 0.25, 0, None]),
        ("t = Tanh(x) r = ReduceMean<keepdims=1>(t) y = Mul(a, r)", [None, None, 0, None]),
        ("t = Tanh(x) r = ReduceMean<keepdims=1>(t) y = Add(a, r)", []),
        ("r = Relu(a) y = Sub(r, a)", [None, 0, 0, None]),
        ("y = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)", [None, 0.5, 0, None]),
        ("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)", [None, 0.5, 0, None]),
        ("y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(a)", [None, None, 0, None]),
        ("y = AveragePool<kernel_shape=[3,3], count_include_pad=1>(a)", [None, 0.5, 0, None]),
        ("y = LpPool<kernel_shape=[2,2]>(a)", [None, None, 0, None]),
        ("y = GlobalAveragePool(a)", [None, 0.5, 0, None]),
        ("p, q = Split<axis=1, num_outputs=2>(a) y = Concat<axis=1>(q, p)", [0, None, None, 0.5]),
        ("y = Dropout(a)", [None, 0.5, 0, None]),
        ("z = Transpose<perm=[0,2,3,1]>(a) t = Relu(z) y = Transpose<perm=[0,3,1,2]>(t)", [None, 0.5, 0, None]),
    ],
)
def test_facts(text: str, expected: list[float | None]) -> None:
    assert known(text) == expected


def test_the_mask_of_dropout_is_not_its_value() -> None:
    assert known("d, m = Dropout(a) y = Cast<to=1>(m)") == []


@pytest.mark.parametrize(
    ("pads", "value", "expected"),
    [
        ([0, 1, 0, 0, 0, 0, 0, 0], 0.0, [0, None, 0.5, 0, None]),
        ([0, 0, 1, 1, 0, 0, 1, 1], 0.0, [None, None, 0, None]),
        ([0, 0, 1, 1, 0, 0, 1, 1], 0.5, [None, 0.5, None, None]),
        ([0, -1, 0, 0, 0, 1, 0, 0], 7.0, [0.5, 0, None, 7]),
        ([0, 1, 1, 0, 0, 0, 0, 0], 0.0, [0, None, None, 0, None]),
    ],
)
def test_padding(pads: list[int], value: float, expected: list[float | None]) -> None:
    assert known("y = Pad(a, pads, value)", pads=np.array(pads), value=np.array(value, np.float32)) == expected


def test_padding_with_a_computed_value() -> None:
    assert known("s = ReduceMax<keepdims=0>(x) y = Pad(a, pads, s)", pads=np.array([0, 1, 0, 0, 0, 0, 0, 0])) == []


def test_zero_scale_of_a_norm() -> None:
    w = Weights()
    norm = w.norm(4, zero=(0,), shift={0: 2.0})
    assert known("y = BatchNormalization(a, g, b2, m, v)", g=norm["g"], b2=norm["b"], m=norm["m"], v=norm["v"])[0] == 2


@pytest.mark.parametrize("slot", ["m", "b2"])
def test_norms_that_are_not_finite(slot: str) -> None:
    w = Weights()
    norm = w.norm(4, zero=(0,))
    weights = {"g": norm["g"], "b2": norm["b"], "m": norm["m"], "v": norm["v"]}
    weights[slot][0] = np.inf
    assert known("y = BatchNormalization(a, g, b2, m, v)", **weights)[0] is None


def test_zero_times_what_is_not_finite() -> None:
    factor = np.array([1, 1, np.inf, np.nan], np.float32).reshape(4, 1, 1)
    assert known("y = Mul(a, factor)", factor=factor) == [None, 0.5, None, None]


def test_product_of_two_activations() -> None:
    model = build(
        "(float[N,5,6] x) => (y) { q = MatMul(x, wq) k = MatMul(x, wk) t = Transpose<perm=[0,2,1]>(k)"
        " s = MatMul(q, t) v = MatMul(x, wv) y = MatMul(s, v) }",
        wq=Weights()(6, 3, zero=(0, 1), axis=1), wk=Weights(1)(6, 3, zero=(2,), axis=1), wv=Weights(2)(6, 4),
    )  # fmt: skip
    values = proven(model)
    assert np.all(values.known["s"].mask)
    assert np.all(values.known["y"].mask)


@pytest.mark.parametrize("product", ["MatMul(w2, f)", "Gemm<alpha=0.5>(w2, f)", "Gemm(w2, f, b2)"])
def test_product_with_its_weight_on_the_left(product: str) -> None:
    w = Weights()
    left = w(3, 4)
    left[1, [0, 3]] = 0  # reads known channels only
    model = build(
        f"(float[1,3,2,2] x) => (y) {{ {SOURCE} s = Squeeze(a, zero) f = Flatten(s) y = {product} }}",
        w2=left, b2=w(3, 4), zero=np.array([0]), **source(),
    )  # fmt: skip
    assert proven(model).along("y", 0)[0].tolist() == [False, "b2" not in product, False]


@pytest.mark.parametrize(
    ("node", "expected"),
    [("Conv(x, w)", True), ("Conv<pads=[0,0,0,1]>(x, w)", False), ('Conv<auto_pad="SAME_UPPER">(x, w)', False)],
)
def test_borders(node: str, expected: bool) -> None:
    model = build(f"({IN}) => (y) {{ y = {node} }}", w=Weights()(2, 3, 3, 3))
    assert absorbs_border(model.graph.node[0]) is expected
