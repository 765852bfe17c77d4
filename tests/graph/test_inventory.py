"""An inventory counts every parameter once: with channels that may go, or with what holds them back."""

from __future__ import annotations

import numpy as np
import odd_blocks  # noqa: F401  files its blocks
import pytest
import rare_blocks  # noqa: F401  files its blocks, and those of token_blocks
from blocks import BLOCKS
from models import Weights, build
from networks import network
from onnx import ModelProto

import graph
from graph.candidates.classes import classes
from graph.reporting.inventory import Held, Inventory, inventory

PAD = "pads=[1,1,1,1]"


def stock(model: ModelProto) -> Inventory:
    found = inventory(graph.analyse(model))
    entries = [*found.offered, *found.held]
    assert sum(entry.parameters for entry in entries) == found.size.parameters
    return found


def held_by(found: Inventory, op: str) -> Held:
    (held,) = [each for each in found.held if each.op.partition(":")[0] == op]
    return held


@pytest.mark.parametrize("seed", range(60))
def test_the_parameters_of_any_network_add_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picked = [(BLOCKS[place], int(rng.integers(1 << 16))) for place in rng.integers(len(BLOCKS), size=4)]
    model = network(seed, picked)
    found = stock(model)
    assert sum(family.classes for family in found.offered) == len(classes(graph.analyse(model)))


def test_a_row_counts_with_the_channel_that_it_makes() -> None:
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (float[a,b,c,d] y) {{ a = Conv<{PAD}>(x, w1, b1) r = Relu(a) c = Conv<{PAD}>(r, w2) "
        "t, i = TopK<axis=1>(c, four) y = Conv(t, w3) }",
        w1=w(16, 3, 3, 3), b1=w(16), w2=w(8, 16, 3, 3), w3=w(2, 4, 1, 1), four=np.array([4]),
    )  # fmt: skip
    found = stock(model)
    assert [(each.classes, each.parameters, each.tensors) for each in found.offered] == [
        (16, 16 * 27 + 16, ["w1[0]", "b1[0]"])
    ]
    top = held_by(found, "TopK")
    assert (top.reason, top.why, top.channels, top.parameters) == ("frozen", "mixed", 8, 8 * 16 * 9)
    output = held_by(found, "y")
    assert (output.reason, output.channels, output.parameters) == ("output", 2, 8)


def test_a_recurrent_op_holds_its_own_weights() -> None:
    w = Weights()
    model = build(
        "(float[6,N,5] x) => (float[a,b,c,d] y) { y, h, c = LSTM<hidden_size=7>(x, w1, w2) }",
        w1=w(1, 28, 5), w2=w(1, 28, 7),
    )  # fmt: skip
    assert held_by(stock(model), "LSTM").parameters == 28 * 12


def test_what_belongs_to_no_channel_is_held_too() -> None:
    w = Weights()
    model = build(
        "(float[N,3,8,8] x) => (y) { a = Conv(x, w1) b = Mul(a, two) y = Conv(b, w2) }",
        w1=w(1, 3, 1, 1), two=np.float32(2), w2=w(2, 1, 1, 1),
    )  # fmt: skip
    found = stock(model)
    assert found.offered == []
    assert {(each.reason, each.parameters) for each in found.held} == {("last", 4), ("output", 2)}


def test_what_is_folded_counts_where_it_is_used() -> None:
    w = Weights()
    model = build(
        "(float[N,6] x) => (y) { t = Transpose<perm=[1,0]>(w1) a = MatMul(x, t) r = Relu(a) y = MatMul(r, w2) }",
        w1=w(9, 6), w2=w(9, 2),
    )  # fmt: skip
    assert [(each.classes, each.parameters) for each in stock(model).offered] == [(9, 54)]


def test_a_constant_that_nothing_reads_is_unused() -> None:
    w = Weights()
    model = build("(float[N,6] x) => (y) { y = MatMul(x, w1) }", w1=w(6, 2), w2=w(5))
    assert {(each.reason, each.parameters) for each in stock(model).held} == {("output", 12), ("unused", 5)}
