"""Tensors without elements: they say nothing, and hold nothing but themselves."""

from __future__ import annotations

import numpy as np
import pytest
from models import Weights, assert_close, build, feeds, run, widths

import graph

W = Weights()
CONV = {"w1": W(6, 3, 1, 1, zero=(0, 1)), "w2": W(4, 6, 1, 1)}
PRODUCT = {"w1": W(8, 6, zero=(0, 1), axis=1), "w2": W(6, 5)}
INDEX = {"zero": np.array([0]), "three": np.array([3]), "one": np.array([1])}


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("e = Relu(none) c = Concat<axis=1>(h, e)", {"none": np.zeros((2, 0, 8, 8), np.float32)}),
        ("e = Relu(none) c = Concat<axis=0>(h, e)", {"none": np.zeros((0, 6, 8, 8), np.float32)}),
        ("s = Slice(h, three, three, one) e = Relu(s) c = Concat<axis=1>(h, e)", INDEX),
        ("e = Gather<axis=1>(h, none) c = Concat<axis=1>(h, e)", {"none": np.zeros(0, np.int64)}),
        ("d, e = Split<axis=1>(h, sizes) c = Concat<axis=1>(e, d)", {"sizes": np.array([6, 0])}),
        ("e = Tile(h, times) c = Concat<axis=1>(h, e)", {"times": np.array([1, 0, 1, 1])}),
        ("e = ReduceSum(none, zero) c = Add(h, e)", {"none": np.zeros((0, 6, 1, 1), np.float32), **INDEX}),
    ],
)
def test_beside_channels_that_go(text, constants):
    model = build(
        f"(float[2,3,8,8] x) => (float[M,4,8,8] y) {{ h = Conv(x, w1) {text} y = Conv(c, w2) }}", **CONV, **constants
    )
    slim, _ = graph.shrink(model)
    inputs = feeds(model)
    assert_close(run(slim, inputs)["y"], run(model, inputs)["y"])
    assert widths(slim)["w1"] == (4, 3, 1, 1)


def test_a_sum_over_nothing():
    model = build(
        "(float[N,8] x) => (y) { a = MatMul(x, w1) b = MatMul(a, w2) c = MatMul(x, none) d = MatMul(c, nil)"
        " y = Add(b, d) }",
        none=W(8, 0), nil=W(0, 5), **PRODUCT,
    )  # fmt: skip
    slim, _ = graph.shrink(model)
    inputs = feeds(model)
    assert_close(run(slim, inputs)["y"], run(model, inputs)["y"])
    assert widths(slim)["w1"] == (8, 4)


def test_shapes_of_nothing():
    model = build(
        "(float[2,3,8,8] x) => (y) { h = Conv(x, w1) s = Slice(h, three, three, one) f = Reshape<allowzero=1>(s, flat)"
        " e = Reshape<allowzero=1>(f, back) c = Concat<axis=1>(h, e) y = Conv(c, w2) }",
        flat=np.array([0]), back=np.array([2, 0, 8, 8]), **CONV, **INDEX,
    )  # fmt: skip
    slim, _ = graph.shrink(model)
    inputs = feeds(model)
    assert_close(run(slim, inputs)["y"], run(model, inputs)["y"])
