"""What the fuzzer found first, as the smallest networks that show it."""

from __future__ import annotations

import numpy as np
import pytest
from models import Weights, assert_close, assert_same, build, feeds, ops, run, shrunk, widths

import graph

IN = "float[N,3,8,8] x"
PAD = "pads=[1,1,1,1]"


@pytest.mark.parametrize("picks", ["Gather<axis=1>(a, three)", "Slice(a, three, four, one)"])
def test_one_channel_is_left_and_it_is_the_right_one(picks: str) -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) p = {picks} y = Conv(p, w2) }}",
        w1=w(7, 3, 3, 3), w2=w(2, 1, 3, 3), one=np.array([1]), three=np.array([3]), four=np.array([4]),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w2"] == (2, 1, 3, 3)


def test_split_into_one_and_the_rest() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) p, q = Split<axis=1>(a, sizes) b = Conv(p, w2) c = Conv(q, w3)"
        " y = Add(b, c) }",
        w1=w(7, 3, 3, 3, zero=(0, 6)), w2=w(2, 1, 3, 3), w3=w(2, 6, 3, 3), sizes=np.array([1, 6]),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (6, 3, 3, 3)


def test_unread_half_of_a_split() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) p, q = Split<axis=1>(a, sizes) y = Conv(q, w2) }}",
        w1=w(7, 3, 3, 3), w2=w(2, 3, 3, 3, zero=(0,), axis=1), sizes=np.array([4, 3]),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w1"][0] <= 3
    assert_same(slim, graph.shrink(slim)[0])


def test_one_reader_of_a_fork_ignores_everything() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, w2, b2) c = Conv<{PAD}>(a, w3) y = Add(b, c) }}",
        w1=w(6, 3, 3, 3), w2=w(2, 6, 3, 3, zero=slice(None)), b2=w(2), w3=w(2, 6, 3, 3),
    )  # fmt: skip
    shrunk(model)


def test_dead_nodes_hold_nothing() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) s = Softmax<axis=1>(a) y = Conv<{PAD}>(a, w2) }}",
        w1=w(6, 3, 3, 3, zero=(1, 2)), w2=w(2, 6, 3, 3),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (4, 3, 3, 3), "w2": (2, 4, 3, 3)}
    assert ops(slim) == ["Conv", "Conv"]


def test_dead_nodes_with_unnamed_outputs_hold_nothing() -> None:
    """An input that is left out is no reader of an output that is left out."""
    w = Weights()
    model = build(
        "(float[N,4,8] x) => (y) { a = MatMul(x, w1) , u = GRU<hidden_size = 3>(a, w3, w4) b = Clip(a, , high)"
        " y = MatMul(b, w2) }",
        w1=w(8, 6, zero=(1,), axis=1), w2=w(6, 5), w3=w(1, 9, 6), w4=w(1, 9, 3), high=np.array(1, np.float32),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert ops(slim) == ["MatMul", "Clip", "MatMul"]


def test_one_shared_zero_weight_cut_along_different_axes() -> None:
    w = Weights()
    model = build(
        "(float[N,3] x) => (y) { a = MatMul(x, w1) b = MatMul(a, s) r = Cos(b) c = MatMul(r, s) d = MatMul(x, w2)"
        " e = Add(c, d) y = MatMul(e, w3) }",
        w1=w(3, 4), s=np.zeros((4, 4), np.float32), w2=w(3, 4), w3=w(4, 2, zero=(1,)),
    )  # fmt: skip
    shrunk(model)


def test_a_sum_that_loses_an_operand() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, w2) s = Add(a, b) y = Conv<{PAD}>(s, w3) }}",
        w1=w(6, 3, 3, 3), w2=w(6, 6, 3, 3, zero=slice(None)), w3=w(2, 6, 3, 3),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (6, 3, 3, 3), "w3": (2, 6, 3, 3)}
    assert ops(slim) == ["Conv", "Conv"]


def test_a_concat_that_loses_an_operand() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, w2) c = Concat<axis=1>(a, b)"
        f" y = Conv<{PAD}>(c, w3) }}",
        w1=w(6, 3, 3, 3), w2=w(4, 6, 3, 3, zero=slice(None)), w3=w(2, 10, 3, 3),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (6, 3, 3, 3), "w3": (2, 6, 3, 3)}
    assert ops(slim) == ["Conv", "Conv"]


def test_carrier_stands_for_all_constants_before_padding() -> None:
    w = Weights()
    bias = np.zeros(6, np.float32)
    bias[[1, 3, 4]] = [2.0, -0.5, 1.0]
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1, b1) y = Conv<{PAD}>(a, w2) }}",
        w1=w(6, 3, 1, 1, zero=(1, 2, 3, 4)), b1=bias, w2=w(2, 6, 3, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0]) == {"w1": (3, 3, 1, 1), "b1": (3,), "w2": (2, 3, 3, 3)}


def test_wide_fork_selects_what_it_reads() -> None:
    """Sixty-four channels of which one consumer reads four: a Gather pays for itself."""
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) b = Conv<{PAD}>(a, w2) c = Conv<{PAD}>(a, w3) y = Add(b, c) }}",
        w1=w(64, 3, 3, 3), w2=w(64, 64, 3, 3, zero=slice(4, None), axis=1), w3=w(64, 64, 3, 3),
    )  # fmt: skip
    slim, _ = shrunk(model)
    found = widths(slim)
    assert (found["w2"], found["w3"]) == ((64, 4, 3, 3), (64, 64, 3, 3))
    assert ops(slim).count("Gather") == 1


def test_new_names_are_new() -> None:
    """Whatever a rewritten model adds, nothing in the file is called that already."""
    w = Weights()
    bias = np.zeros(64, np.float32)
    bias[1] = 2
    model = build(
        f"({IN}) => (y, z) {{ a = Conv<{PAD}>(x, w1) a_channels = Conv<{PAD}>(a, w2) b = Conv<{PAD}>(a, w3)"
        " a_channels_padded = Add(a_channels, b) y = Conv(a_channels_padded, a_channels_indices)"
        " g = GlobalAveragePool(x) f = Flatten(g) z_product = Gemm(f, z_weight, z_bias) z = MatMul(z_product, w4) }",
        w1=w(64, 3, 3, 3), w2=w(64, 64, 3, 3, zero=slice(4, None), axis=1), w3=w(64, 64, 3, 3),
        a_channels_indices=w(2, 64, 1, 1), z_weight=w(3, 64, zero=(1, 2), axis=1), z_bias=bias, w4=w(64, 3),
    )  # fmt: skip
    for place, node in enumerate(model.graph.node):
        node.name = ["a_channels", "z_bias", "b", "add", "z_bias_1", "g", "f", "z_bias_2", "z"][place]
    slim, _ = shrunk(model)
    names = [node.name for node in slim.graph.node]
    assert len(names) == len(set(names)), names
    assert "Gather" in ops(slim)
    assert ops(slim)[-1] == "Add"


def test_facts_hold_for_every_size() -> None:
    w = Weights()
    model = build(
        f"(float[N,3,H,W] x) => (y) {{ a = Conv<{PAD}>(x, w1) z = Mul(a, nil) p = Concat<axis=2>(a, z)"
        " s = Slice(p, probe, far, two) g = GlobalAveragePool(s) y = Conv(g, w2) }",
        w1=w(4, 3, 3, 3), w2=w(2, 4, 1, 1), nil=np.zeros((4, 1, 1), np.float32),
        probe=np.array([64]), far=np.array([2**40]), two=np.array([2]),
    )  # fmt: skip
    slim, _ = graph.shrink(model)
    for size in (64, 96):
        inputs = feeds(model, size=size)
        assert_close(run(slim, inputs)["y"], run(model, inputs)["y"])


def test_a_shortcut_with_zero_channels_loses_them_where_the_branch_is_zero() -> None:
    """A ResNet's shortcut without weights: nothing is known of what comes in, and all of what is padded."""
    w = Weights()
    model = build(
        "(float[N,3,8,8] x) => (y) { a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) "
        "s = Slice(r, zero, end, axis, two) p = Pad(s, pads) "
        "b = Conv<pads=[1,1,1,1], strides=[1,2]>(r, w2) d = Add(b, p) e = Relu(d) y = Conv(e, w3) }",
        w1=w(4, 3, 3, 3), w2=w(8, 4, 3, 3, zero=(1, 7)), w3=w(2, 8, 1, 1),
        zero=np.array([0]), end=np.array([99]), axis=np.array([3]), two=np.array([2]),
        pads=np.array([0, 2, 0, 0, 0, 2, 0, 0]),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w2"] == (6, 4, 3, 3) and widths(slim)["w3"] == (2, 6, 1, 1)


@pytest.mark.parametrize("opset", [11, 20])
def test_a_squeeze_without_axes_keeps_a_channel_that_is_alone(opset: int) -> None:
    w = Weights()
    model = build(
        "(float[1,3,8,8] x) => (float[5] y) { a = Conv(x, w1) p = GlobalAveragePool(a) s = Squeeze(p)"
        " y = MatMul(s, w2) }",
        w1=w(6, 3, 1, 1, zero=slice(1, None)), w2=w(6, 5), opset=opset,
    )  # fmt: skip
    slim, _ = graph.shrink(model)
    inputs = feeds(model)
    assert_close(run(slim, inputs)["y"], run(model, inputs)["y"])
    assert widths(slim)["w2"] == (1, 5)


@pytest.mark.parametrize(("kind", "small", "large"), [("float", 1e-38, 3), ("float16", 2e-4, 100)])
def test_the_largest_constant_is_the_carrier(kind: str, small: float, large: float) -> None:
    """Weights that are scaled up by the ratio of two constants would leave the range of their type."""
    w = Weights()
    dtype = np.dtype(kind if kind == "float16" else "float32")
    model = build(
        f"({kind}[N,3,8,8] x) => (y) {{ a = Conv(x, w1, b1) y = Conv<{PAD}>(a, w2) }}",
        w1=w(4, 3, 1, 1, zero=(0, 1, 2)).astype(dtype), b1=np.array([small, large, large, 1], dtype),
        w2=w(4, 4, 3, 3).astype(dtype),
    )  # fmt: skip
    slim, _ = graph.shrink(model)
    inputs = feeds(model)
    found, expected = run(slim, inputs)["y"], run(model, inputs)["y"]
    assert widths(slim)["w1"] == (2, 3, 1, 1)
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()
