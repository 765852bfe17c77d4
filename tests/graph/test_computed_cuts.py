"""Bounds and widths that are computed from what is fed: what is known at the probe sizes is not known elsewhere."""

from __future__ import annotations

import numpy as np
from models import Weights, assert_close, build, feeds, run

import graph

W = Weights()
ZERO, ONE = np.array([0]), np.array([1])


def assert_same_at(model, slim, sizes):
    for size in sizes:
        inputs = feeds(model, size=size)
        assert_close(run(slim, inputs)["y"], run(model, inputs)["y"], f"at {size}")


def test_a_row_of_a_table_at_a_computed_place():
    """The next position of a decoder with a cache: one row, and always another one."""
    model = build(
        """(float[1,T,32] past, float[1,1,32] x) => (y) {
            start = Shape<start=1, end=2>(past)
            end = Add(start, one)
            row = Slice(table, start, end, zero)
            place = MatMul(row, w1)
            token = MatMul(x, w2)
            y = Add(token, place)
        }""",
        table=W(256, 32), w1=W(32, 24), w2=W(32, 24), zero=ZERO, one=ONE,
    )  # fmt: skip
    slim, certificate = graph.shrink(model)
    assert certificate.output.parameters == certificate.input.parameters
    assert_same_at(model, slim, [1, 64, 100])


def test_a_table_that_ends_before_the_larger_probe():
    """Only a smaller second reading shows that the place depends on the size."""
    model = build(
        """(float[N,4,8,K] x) => (y) {
            start = Shape<start=3, end=4>(x)
            end = Add(start, one)
            row = Slice(table, start, end, zero)
            gate = MatMul(row, w1)
            turned = Reshape(gate, shape)
            y = Mul(x, turned)
        }""",
        table=W(96, 32), w1=W(32, 4), zero=ZERO, one=ONE, shape=np.array([1, -1, 1, 1]),
    )  # fmt: skip
    slim, certificate = graph.shrink(model)
    assert certificate.output.parameters == certificate.input.parameters
    assert_same_at(model, slim, [1, 64, 90])


def test_padding_to_a_multiple():
    """No border at the probe sizes, which are multiples of 4; elsewhere a constant is another one there."""
    model = build(
        """(float[N,3,8,K] x) => (y) {
            a = Conv(x, w1, b1)
            size = Shape<start=3, end=4>(a)
            over = Mod(size, four)
            missing = Sub(four, over)
            width = Mod(missing, four)
            pads = Concat<axis=0>(zeros, width)
            p = Pad(a, pads)
            b = Conv(p, w2)
            c = Conv(b, w3)
            y = Add(c, c)
        }""",
        w1=W(6, 3, 1, 1, zero=(0,)), b1=W(6), w2=W(4, 6, 2, 2, zero=slice(1, None), axis=1), w3=W(2, 4, 1, 1),
        four=np.array([4]), zeros=np.zeros(7, np.int64),
    )  # fmt: skip
    slim, _ = graph.shrink(model)
    assert_same_at(model, slim, [8, 9, 11])


def test_bounds_from_sizes_that_are_always_the_same():
    """As exporters write a half of the channels: what is known of them is known of the half."""
    model = build(
        """(float[N,3,H,K] x) => (y) {
            a = Conv(x, w1)
            channels = Shape<start=1, end=2>(x)
            s = Slice(a, zero, channels, one)
            y = Conv(s, w2)
        }""",
        w1=W(6, 3, 1, 1, zero=(0,)), w2=W(2, 3, 1, 1), zero=ZERO, one=ONE,
    )  # fmt: skip
    assert graph.analyse(model).values.along("s", 1)[0].tolist() == [True, False, False]
