"""Channels whose value is known but not zero: absorbed where that is exact, kept where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from models import Array, Weights, build, ops, shrunk, widths

IN = "float[N,3,H,W] x"
FIXED = "float[N,3,8,8] x"
PAD = "pads=[1,1,1,1]"


def biased(size: int, values: dict[int, float]) -> Array:
    bias = np.zeros(size, np.float32)
    for place, value in values.items():
        bias[place] = value
    return bias


def test_constant_into_unpadded_conv() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1, b1) y = Conv(a, w2, b2) }}",
        w1=w(6, 3, 3, 3, zero=(1, 4)), b1=biased(6, {1: 2.0, 4: -3.0}), w2=w(2, 6, 3, 3), b2=w(2),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert widths(slim) == {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (2, 4, 3, 3), "b2": (2,)}
    assert [(entry.reason, entry.channels, entry.absorbed_into) for entry in certificate.removed] == [
        ("constant", 2, ["b2"])
    ]


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("scale", ["", "alpha=0.5, beta=2.0,"])
@pytest.mark.parametrize("bias", [None, (), (1,), (5,), (1, 5), (1, 1)])
def test_constant_into_gemm(transposed: int, scale: str, bias: tuple[int, ...] | None) -> None:
    w = Weights()
    weights = {"w2": w(5, 6) if transposed else w(6, 5)}
    if bias is not None:
        weights["b2"] = w(*bias)
    model = build(
        f"(float[N,3] x) => (y) {{ a = Gemm<transB=1>(x, w1, b1) t = Cos(a)"
        f" y = Gemm<{scale} transB={transposed}>(t, w2 {', b2' if bias is not None else ''}) }}",
        w1=w(6, 3, zero=(1, 4)), b1=biased(6, {1: 2.0}), **weights,
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (4, 3)


def test_gemm_that_ignores_its_bias() -> None:
    w = Weights()
    model = build(
        "(float[N,3] x) => (y) { a = Gemm<transB=1>(x, w1, b1) y = Gemm<beta=0.0>(a, w2, b2) }",
        w1=w(6, 3, zero=(1,)), b1=w(6), w2=w(6, 5), b2=w(5),
    )  # fmt: skip
    shrunk(model)


def test_constant_into_matmul() -> None:
    w = Weights()
    model = build(
        "(float[N,7,3] x) => (y) { p = MatMul(x, w1) a = Add(p, b1) g = Gelu(a) y = MatMul(g, w2) }",
        w1=w(3, 6, zero=(1, 4), axis=1), b1=w(6), w2=w(6, 2),
    )  # fmt: skip
    slim, _ = shrunk(model)
    found = widths(slim)
    assert (found["w1"], found["b1"], found["w2"]) == ((3, 4), (4,), (4, 2))
    assert ops(slim) == ["MatMul", "Add", "Gelu", "MatMul", "Add"]


def test_zero_into_matmul_adds_no_node() -> None:
    w = Weights()
    model = build(
        "(float[N,7,3] x) => (y) { p = MatMul(x, w1) r = Relu(p) y = MatMul(r, w2) }",
        w1=w(3, 6, zero=(1, 4), axis=1), w2=w(6, 2),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert (widths(slim), ops(slim)) == ({"w1": (3, 4), "w2": (4, 2)}, ops(model))


def test_matmul_with_its_weight_on_the_left() -> None:
    w = Weights()
    model = build(
        "(float[N,3,7] x) => (y) { p = MatMul(w1, x) r = Relu(p) y = MatMul(w2, r) }",
        w1=w(6, 3, zero=(1, 4)), w2=w(2, 6),
    )  # fmt: skip
    assert widths(shrunk(model)[0]) == {"w1": (4, 3), "w2": (2, 4)}


def test_unread_through_matmul_with_its_weight_on_the_left() -> None:
    w = Weights()
    model = build(
        "(float[N,3,7] x) => (y) { p = MatMul(w1, x) r = Relu(p) y = MatMul(w2, r) }",
        w1=w(6, 3), w2=w(2, 6, zero=(1, 4), axis=1),
    )  # fmt: skip
    assert widths(shrunk(model)[0]) == {"w1": (4, 3), "w2": (2, 4)}


def test_constant_into_padded_conv_is_kept() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1, b1) y = Conv<{PAD}>(a, w2) }}",
        w1=w(4, 3, 1, 1, zero=(1, 2)), b1=biased(4, {1: 2.0}), w2=w(2, 4, 3, 3),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert widths(slim)["w1"] == (3, 3, 1, 1)
    assert [(kept.reason, kept.op, kept.channels) for kept in certificate.kept_zero] == [("border", "Conv:y", 1)]


@pytest.mark.parametrize("padding", ['auto_pad="SAME_UPPER"', 'auto_pad="SAME_LOWER"', "pads=[0,1,0,0]"])
def test_every_kind_of_padding_is_a_border(padding: str) -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv(x, w1, b1) y = Conv<{padding}>(a, w2) }}",
        w1=w(4, 3, 1, 1, zero=(1,)), b1=biased(4, {1: 2.0}), w2=w(2, 4, 3, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (4, 3, 1, 1)


def test_auto_pad_valid_is_none() -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv(x, w1, b1) y = Conv<auto_pad=\"VALID\">(a, w2) }}",
        w1=w(4, 3, 1, 1, zero=(1,)), b1=biased(4, {1: 2.0}), w2=w(2, 4, 3, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (3, 3, 1, 1)


def test_conv_transpose() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1, b1) u = ConvTranspose<strides=[2,2]>(a, w2) r = Relu(u)"
        f" y = Conv<{PAD}>(r, w3) }}",
        w1=w(5, 3, 3, 3, zero=(1, 2)), b1=biased(5, {2: 1.0}), w2=w(5, 4, 2, 2, zero=(0,), axis=1), w3=w(2, 4, 3, 3),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w2"], found["w3"]) == ((4, 3, 3, 3), (4, 3, 2, 2), (2, 3, 3, 3))


def test_constant_through_padded_depthwise_is_no_constant() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1, b1) d = Conv<{PAD}, group=4>(a, w2) y = Conv(d, w3) }}",
        w1=w(4, 3, 1, 1, zero=(1, 2)), b1=biased(4, {1: 2.0}), w2=w(4, 1, 3, 3), w3=w(2, 4, 1, 1),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (3, 3, 1, 1)


def test_constant_through_unpadded_depthwise() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1, b1) d = Conv<group=4>(a, w2, b2) y = Conv(d, w3) }}",
        w1=w(4, 3, 1, 1, zero=(1, 2)), b1=biased(4, {1: 2.0}), w2=w(4, 1, 3, 3), b2=w(4), w3=w(2, 4, 1, 1),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (2, 3, 1, 1)


@pytest.mark.parametrize(
    "pool",
    [
        "MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)",
        "AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(a)",
        "AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(a)",
        "AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1, count_include_pad=1>(a)",
        "AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(a)",
        "LpPool<kernel_shape=[2,2], p=2>(a)",
        "GlobalAveragePool(a)",
        "ReduceSum(a, axes)",
        "ReduceMax(a, axes)",
        "ReduceLogSumExp(a, axes)",
        "ReduceProd(a, axes)",
        'Resize<mode="nearest">(a, none, scales)',
        'Resize<mode="linear">(a, none, scales)',
        'Resize<mode="cubic">(a, none, scales)',
        'Resize<coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=7.0>(a, roi, scales)',
        "Pad(a, border, seven)",
        'Pad<mode="edge">(a, border)',
        'Pad<mode="reflect">(a, border)',
        "InstanceNormalization(a, scale, shift)",
        "LRN<size=3>(a)",
        "LpNormalization<axis=1>(a)",
        "Softmax<axis=1>(a)",
        "Dropout(a)",
        "CumSum(a, one)",
        "DepthToSpace<blocksize=2>(a)",
        "SpaceToDepth<blocksize=2>(a)",
    ],
)
def test_constants_through_whatever_stands_between(pool: str) -> None:
    """What the op does to a constant is its own affair; the result must be right."""
    w = Weights()
    channels = 1 if "DepthToSpace" in pool else 16 if "SpaceToDepth" in pool else 4
    model = build(
        f"({FIXED}) => (y) {{ a = Conv(x, w1, b1) p = {pool} y = Conv(p, w2, b2) }}",
        w1=w(4, 3, 1, 1, zero=(1, 2)), b1=biased(4, {1: 2.0}), w2=w(2, channels, 1, 1), b2=w(2),
        axes=np.array([2, 3]), none=np.zeros(0, np.float32), scales=np.array([1, 1, 2, 2], np.float32),
        roi=np.array([0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5], np.float32), seven=np.array(7, np.float32),
        border=np.array([0, 0, 1, 1, 0, 0, 1, 1]), scale=w(4), shift=w(4), one=np.array(2),
    )  # fmt: skip
    shrunk(model)


def test_whole_layer_dead() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) b = Conv<{PAD}>(r, w2, b2) c = Conv<{PAD}>(x, w3)"
        " y = Add(b, c) }",
        w1=w(6, 3, 3, 3, zero=slice(None)), w2=w(2, 6, 3, 3), b2=w(2), w3=w(2, 3, 3, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0]).get("w1", (0,))[0] <= 1


def test_everything_dead() -> None:
    w = Weights()
    model = build(
        f"({FIXED}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) b = Conv<{PAD}>(r, w2) f = Flatten(b)"
        " y = Gemm(f, w3, b3) }",
        w1=w(6, 3, 3, 3, zero=slice(None)), w2=w(4, 6, 3, 3, zero=slice(None)), w3=w(256, 5, zero=slice(None)), b3=w(5),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert found.get("w1", (1,))[0] == found.get("w2", (1,))[0] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_block_removal(bad: float) -> None:
    w = Weights()
    poisoned = w(2, 6, 3, 3)
    poisoned[0, 1, 0, 0] = bad
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) y = Conv<{PAD}>(r, w2) }}",
        w1=w(6, 3, 3, 3, zero=(1, 2)), w2=poisoned,
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"][0] > 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_zero_times_a_constant_that_is_not_finite(bad: float) -> None:
    w = Weights()
    factor = np.ones((1, 4, 1, 1), np.float32)
    factor[0, 1] = bad
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1) m = Mul(a, factor) y = Conv(m, w2) }}",
        w1=w(4, 3, 1, 1, zero=(1, 2)), w2=w(2, 4, 1, 1), factor=factor,
    )  # fmt: skip
    shrunk(model)


@pytest.mark.parametrize(
    "op",
    "Abs Acos Asin Asinh Atan Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log"
    " Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh"
    " ThresholdedRelu".split(),
)
def test_constants_through_every_activation(op: str) -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1, b1) h = Sigmoid(a) f = {op}(h) y = Conv(f, w2, b2) }}",
        w1=w(4, 3, 1, 1, zero=(1, 2)), b1=biased(4, {1: 0.7}), w2=w(2, 4, 3, 3), b2=w(2),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (2, 3, 1, 1)


@pytest.mark.parametrize(
    ("sum", "after"),
    [
        ("Add(m, b)", ["Add"]),
        ("Add(places, m)", ["Add"]),
        ("Add(m, one)", ["Add", "Add"]),  # a scalar has no room for it
        ("Mul(m, b)", ["Add", "Mul"]),
        ("Add(m, m)", ["Add", "Add"]),
    ],
)
def test_a_product_has_the_bias_that_is_added_behind_it(sum: str, after: list[str]) -> None:
    """Linear layers that are exported as MatMul and Add stay two nodes."""
    w = Weights()
    model = build(
        f"(float[N,3,5] x) => (y) {{ a = MatMul(x, w1) h = Add(a, b1) r = Relu(h) m = MatMul(r, w2) y = {sum} }}",
        w1=w(5, 8, zero=(1, 4), axis=1), b1=np.abs(w(8)), w2=w(8, 6), b=w(6), places=w(1, 3, 6), one=w(1),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert ops(slim) == ["MatMul", "Add", "Relu", "MatMul", *after]
    assert widths(slim)["w2"] == (6, 6)
