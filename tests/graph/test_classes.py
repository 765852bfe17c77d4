"""What the compiler offers and a criterion zeroes is what `shrink` then removes."""

from __future__ import annotations

import numpy as np
import pytest
from blocks import BLOCKS
from models import Weights, assert_same, build, shrunk, widths
from networks import network

import graph
from graph.classes import classes
from graph.criteria import CRITERIA
from graph.inventory import inventory
from graph.reads import name_of

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


@pytest.mark.parametrize("criterion", CRITERIA)
def test_what_is_zeroed_is_removed(criterion):
    found = classes(graph.analyse(residual()))
    chosen = found.weakest(CRITERIA[criterion](found, 0), 6)
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
        chosen = found.weakest(CRITERIA["random"](found, seed), round(share * len(found)))
        _, certificate = shrunk(found.zeroed(chosen))
        assert certificate.output.parameters <= certificate.input.parameters


def test_the_floor_of_every_family_stays():
    found = classes(graph.analyse(residual()))
    scores = CRITERIA["l2"](found, 0)
    assert found.weakest(scores, 99).sum() == 15
    assert found.weakest(scores, 99, floor=0.5).sum() == 8
    assert not found.weakest(scores, 0).any()


def test_the_smallest_norms_go_first():
    model = residual()
    for tensor in model.graph.initializer:
        if tensor.name in ("w0", "b0", "w1", "b1"):
            array = graph.analyse(model).program.constants[tensor.name].copy()
            array[[2, 7]] *= 1e-3
            tensor.raw_data = array.tobytes()
    found = classes(graph.analyse(model))
    (offer,) = found.offers
    (maker,) = [m for m in offer.makers if name_of(offer.program, m.use) == "w0"]
    for criterion in ("l1", "l2"):
        chosen = found.weakest(CRITERIA[criterion](found, 0), 2)
        assert set(np.flatnonzero(chosen[maker.classes])) == {2, 7}


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
    model = found.zeroed(found.weakest(CRITERIA["l2"](found, 0), 6))
    slim, certificate = graph.shrink(model, align=align)
    assert widths(slim)["w0"] == (width, 3, 3, 3)
    assert_same(model, slim)
    assert sum(entry.channels for entry in certificate.kept_zero if entry.reason == "align") == width - 10
