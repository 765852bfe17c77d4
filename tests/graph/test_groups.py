"""Grouped convolutions: equal counts per group, whole groups gone, and never another result."""

from __future__ import annotations

import numpy as np
import pytest
from models import Array, Weights, build, shrunk, widths

import graph
from graph.candidates.classes import classes

W = Weights()


def grouped(first: Array, middle: Array, last: Array, *, groups: int, pads: int = 1, **more: Array):
    """1x1 convolution, Relu, grouped 3x3 convolution, 1x1 convolution."""
    bias = ", b1" if "b1" in more else ""
    return build(
        f"""(float[N,3,8,8] x) => (float[N,k,h,w] y) {{
            a = Conv(x, w1{bias})
            b = Relu(a)
            c = Conv<group={groups}, pads=[{pads},{pads},{pads},{pads}]>(b, w2)
            y = Conv(c, w3)
        }}""",
        w1=first, w2=middle, w3=last, **more,
    )  # fmt: skip


def group_of(model) -> int:
    node = next(node for node in model.graph.node if node.output[0] == "c")
    return next((entry.i for entry in node.attribute if entry.name == "group"), 1)


def test_equal_counts_go_from_every_group():
    model = grouped(W(12, 3, 1, 1, zero=(0, 3, 4, 7, 8, 9)), W(6, 4, 3, 3, zero=(1, 2, 4)), W(5, 6, 1, 1), groups=3)
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (6, 3, 1, 1), "w2": (3, 2, 3, 3), "w3": (5, 3, 1, 1)}
    assert group_of(slim) == 3


def test_the_fullest_group_decides_for_ragged_ones():
    """Groups keep 4, 2 and 1 inputs, and 2, 1 and 1 outputs."""
    model = grouped(W(12, 3, 1, 1, zero=(4, 6, 9, 10, 11)), W(6, 4, 3, 3, zero=(2, 5)), W(5, 6, 1, 1), groups=3)
    slim, certificate = shrunk(model)
    assert widths(slim) == {"w1": (12, 3, 1, 1), "w2": (6, 4, 3, 3), "w3": (5, 6, 1, 1)}
    assert {(entry.reason, entry.channels) for entry in certificate.kept_zero} == {("group", 5), ("group", 2)}

    model = grouped(W(12, 3, 1, 1, zero=(0, 4, 6, 9, 10, 11)), W(6, 4, 3, 3), W(5, 6, 1, 1), groups=3)
    assert widths(shrunk(model)[0])["w2"] == (6, 3, 3, 3)


@pytest.mark.parametrize(("dead", "left"), [((0, 1, 2, 3), 2), (range(8), 1)])
def test_whole_groups_go(dead, left):
    outputs = tuple(range(2 * (3 - left)))
    model = grouped(W(12, 3, 1, 1, zero=tuple(dead)), W(6, 4, 3, 3, zero=outputs), W(5, 6, 1, 1), groups=3)
    slim, _ = shrunk(model)
    assert widths(slim)["w2"] == (2 * left, 4, 3, 3)
    assert group_of(slim) == left


def test_a_group_without_inputs_is_zero():
    """No output of it is zeroed by hand."""
    model = grouped(W(12, 3, 1, 1, zero=(4, 5, 6, 7)), W(6, 4, 3, 3), W(5, 6, 1, 1), groups=3)
    assert widths(shrunk(model)[0]) == {"w1": (8, 3, 1, 1), "w2": (4, 4, 3, 3), "w3": (5, 4, 1, 1)}


def test_a_group_without_readers_goes_with_its_inputs():
    model = grouped(W(12, 3, 1, 1), W(6, 4, 3, 3), W(5, 6, 1, 1, zero=(2, 3), axis=1), groups=3)
    assert widths(shrunk(model)[0]) == {"w1": (8, 3, 1, 1), "w2": (4, 4, 3, 3), "w3": (5, 4, 1, 1)}


@pytest.mark.parametrize(("pads", "width"), [(0, 9), (1, 12)])
def test_constants_before_a_grouped_convolution(pads, width):
    """Without padding the bias takes two of each group; with padding one of them stands for both, and rest ragged."""
    bias = np.zeros(12, np.float32)
    dead = (0, 1, 4, 5, 8, 9)
    bias[list(dead)] = [1, 2, 0.5, 3, 1, 1]
    model = grouped(W(12, 3, 1, 1, zero=dead), W(6, 4, 3, 3), W(5, 6, 1, 1), groups=3, pads=pads, b1=bias)
    slim, _ = shrunk(model)
    assert widths(slim)["w2"] == (6, 2 if pads == 0 else 3, 3, 3)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise_with_a_multiplier(multiplier):
    model = grouped(
        W(6, 3, 1, 1, zero=(1, 4)), W(6 * multiplier, 1, 3, 3), W(5, 6 * multiplier, 1, 1), groups=6
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (4, 3, 1, 1), "w2": (4 * multiplier, 1, 3, 3), "w3": (5, 4 * multiplier, 1, 1)}
    assert group_of(slim) == 4


def test_transposed_in_groups():
    model = build(
        """(float[N,3,8,8] x) => (float[N,5,h,w] y) {
            a = Conv(x, w1)
            b = Relu(a)
            c = ConvTranspose<group=2, strides=[2,2]>(b, w2, b2)
            d = Relu(c)
            y = Conv(d, w3)
        }""",
        w1=W(8, 3, 1, 1, zero=(0, 3, 4, 5)), w2=W(8, 3, 2, 2), b2=W(6), w3=W(5, 6, 1, 1, zero=(1, 5), axis=1),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (4, 3, 1, 1), "w2": (4, 2, 2, 2), "b2": (4,), "w3": (5, 4, 1, 1)}


def test_a_shuffle_between_groups():
    """Channels 0 and 4, 1 and 5... change places by Reshape, Transpose, Reshape, so they go in pairs."""
    model = build(
        """(float[N,3,8,8] x) => (float[N,5,h,w] y) {
            a = Conv<group=1>(x, w1)
            r = Reshape(a, split)
            t = Transpose<perm=[0,2,1,3,4]>(r)
            s = Reshape(t, merge)
            c = Conv<group=4>(s, w2)
            y = Conv(c, w3)
        }""",
        w1=W(8, 3, 1, 1, zero=(0, 4, 1, 5)), w2=W(8, 2, 1, 1, zero=(0, 1, 2, 3)), w3=W(5, 8, 1, 1),
        split=np.array([0, 2, 4, 8, 8]), merge=np.array([0, 8, 8, 8]),
    )  # fmt: skip
    left = widths(shrunk(model)[0])
    assert [left[name] for name in ("w1", "w2", "w3")] == [(4, 3, 1, 1), (4, 2, 1, 1), (5, 4, 1, 1)]


@pytest.mark.parametrize("seed", range(40))
def test_any_zeros_and_constants_stay_exact(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([2, 3, 4]))
    inside, outside = (groups * int(rng.integers(1, 5)) for _ in range(2))
    weights = Weights(seed)
    first, middle = weights(inside, 3, 1, 1), weights(outside, inside // groups, 3, 3)
    first[rng.random(inside) < 0.5] = 0
    middle[rng.random(outside) < 0.3] = 0
    middle[:, rng.random(inside // groups) < 0.2] = 0
    bias = rng.choice(np.float32([0, 0, 1, 2]), inside)
    last = weights(5, outside, 1, 1, zero=tuple(np.flatnonzero(rng.random(outside) < 0.3)), axis=1)
    shrunk(grouped(first, middle, last, groups=groups, pads=int(rng.integers(2)), b1=bias))


@pytest.mark.parametrize(("inside", "outside", "groups"), [(12, 6, 3), (6, 12, 6), (12, 6, 6)])
def test_classes_on_offer_keep_groups_equal(inside, outside, groups):
    model = grouped(W(inside, 3, 1, 1), W(outside, inside // groups, 3, 3), W(5, outside, 1, 1), groups=groups)
    offered = classes(graph.analyse(model))
    chosen = offered.weakest(np.random.default_rng(0).random(len(offered)), len(offered))
    slim, certificate = shrunk(offered.zeroed(chosen))
    assert not certificate.kept_zero
    before, after = widths(model), widths(slim)
    assert all(after[name] < before[name] for name in ("w1", "w2", "w3"))
