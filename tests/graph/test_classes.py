"""What the compiler offers and a criterion zeroes is what `shrink` then removes."""

from __future__ import annotations

import numpy as np
import pytest
from blocks import BLOCKS
from models import Weights, assert_same, build, shrunk, widths
from networks import network

import graph
from graph.candidates.classes import classes
from graph.reporting.inventory import inventory
from graph.tracing.trace import name_of

RESIDUAL = """(float[N,3,8,8] x) => (float[N,5] y) {
    a = Conv<pads=[1,1,1,1]>(x, w0, b0)
    b = Relu(a)
    c = Conv<pads=[1,1,1,1]>(b, w1, b1)
    d = Add(c, b)
    e = GlobalAveragePool(d)
    f = Flatten(e)
    y = Gemm<transB=1>(f, w2, b2)
}"""


def residual():
    w = Weights()
    return build(RESIDUAL, w0=w(16, 3, 3, 3), b0=w(16), w1=w(16, 16, 3, 3), b1=w(16), w2=w(5, 16), b2=w(5))


def test_a_residual_stream_is_one_class_per_channel():
    found = classes(graph.analyse(residual()))
    assert len(found) == 16
    assert set(found.family.tolist()) == {0}
    (offer,) = found.offers
    assert {(name_of(offer.program, m.use), m.axis) for m in offer.makers} == {
        ("w0", 0), ("b0", 0), ("w1", 0), ("b1", 0)
    }  # fmt: skip


def test_every_class_goes_alone_beside_a_constant_map():
    """A batch of two is baked in, and the constant has images of its own: no image is a class, which a conv makes."""
    w = Weights()
    model = build(
        "(float[2,3,4,4] x) => (float[2,M,4,4] y) { "
        "a = Conv(x, w1) c = Concat<axis=1>(a, map) d = Conv(c, w2) e = Relu(d) y = Conv(e, w3) }",
        w1=w(5, 3, 1, 1), map=w(2, 2, 4, 4), w2=w(4, 7, 1, 1), w3=w(2, 4, 1, 1),
    )  # fmt: skip
    found = classes(graph.analyse(model))
    assert len(found) == 5 + 2 + 4
    for only in np.eye(len(found), dtype=np.bool_):
        _, certificate = shrunk(found.zeroed(only))
        assert certificate.output.parameters < certificate.input.parameters


def l2(found):
    return np.sqrt(found.reduce(np.square) / found.reduce(np.ones_like))


def test_what_is_zeroed_is_removed():
    found = classes(graph.analyse(residual()))
    chosen = found.weakest(l2(found), 6)
    slim, certificate = shrunk(found.zeroed(chosen))
    assert chosen.sum() == 6
    assert widths(slim)["w0"] == (10, 3, 3, 3) and widths(slim)["w2"] == (5, 10)
    assert sum(entry.channels for entry in certificate.removed) == 6


@pytest.mark.parametrize("seed", range(30))
def test_zeroing_what_any_network_offers_never_breaks_it(seed):
    """Not all of it goes: behind an activation with f(0) != 0 a zeroed channel is a constant, and one must stay."""
    rng = np.random.default_rng(seed)
    picked = [(BLOCKS[place], int(rng.integers(1 << 16))) for place in rng.integers(len(BLOCKS), size=4)]
    found = classes(graph.analyse(network(seed, picked)))
    for share in (0.3, 0.9):
        chosen = found.weakest(rng.random(len(found)), round(share * len(found)))
        _, certificate = shrunk(found.zeroed(chosen))
        assert certificate.output.parameters <= certificate.input.parameters


def test_the_floor_of_every_family_stays():
    found = classes(graph.analyse(residual()))
    scores = l2(found)
    assert found.weakest(scores, 99).sum() == 15
    assert found.weakest(scores, 99, floor=0.5).sum() == 8
    assert not found.weakest(scores, 0).any()


def test_layers_that_are_concatenated_keep_a_floor_each():
    w = Weights()
    model = build(
        "(float[N,3,8,8] x) => (float[N,5,8,8] y) { "
        "a = Conv(x, w0) b = Relu(a) c = Conv(x, w1) d = Relu(c) e = Concat<axis=1>(b, d) y = Conv(e, w2) }",
        w0=w(8, 3, 1, 1), w1=w(4, 3, 1, 1), w2=w(5, 12, 1, 1),
    )  # fmt: skip
    found = classes(graph.analyse(model))
    assert np.bincount(found.family).tolist() == [8, 4]
    left = ~found.weakest(np.arange(12), 99, floor=0.5)
    assert np.bincount(found.family[left]).tolist() == [4, 2]


def test_an_inventory_names_what_holds_channels_back():
    w = Weights()
    model = build(
        "(float[N,3,8,8] x) => (float[N,8,8,8] y, int64[N,8,8,8] i) {a = Conv<pads=[1,1,1,1]>(x, w0) "
        "k = Constant<value_ints=[8]>() t, i = TopK<axis=1>(a, k) y = Conv<pads=[1,1,1,1]>(t, w1)}",
        w0=w(16, 3, 3, 3), w1=w(8, 8, 3, 3),
    )  # fmt: skip
    found = inventory(graph.analyse(model))
    assert found.size.parameters == 16 * 27 + 8 * 72
    (held,) = [each for each in found.held if each.op.startswith("TopK")]
    assert (held.reason, held.parameters) == ("frozen", 16 * 27)
    assert inventory(graph.analyse(residual())).offered[0].classes == 16


@pytest.mark.parametrize("align, width", [(1, 10), (4, 12), (8, 16), (16, 16), (32, 10)])
def test_alignment_gives_dead_channels_back_where_there_are_enough(align, width):
    found = classes(graph.analyse(residual()))
    model = found.zeroed(found.weakest(l2(found), 6))
    slim, certificate = graph.shrink(model, align=align)
    assert widths(slim)["w0"] == (width, 3, 3, 3)
    assert_same(model, slim)
    assert sum(entry.channels for entry in certificate.kept_zero if entry.reason == "align") == width - 10
