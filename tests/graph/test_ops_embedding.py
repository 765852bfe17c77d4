"""Rows picked by indices that are computed: an embedding makes channels, and loses them."""

from __future__ import annotations

import numpy as np
from models import Weights, build, shrunk, widths

import graph
from graph.candidates.classes import classes

HEAD = "(int64[N,5] tokens) => (float[N,5,p] y)"


def test_an_embedding_loses_dimensions() -> None:
    """One is zero, one is the same for all tokens, and one is not read."""
    w = Weights()
    table = w(11, 6, zero=(1,), axis=1)
    table[:, 3] = 0.5
    model = build(
        f"{HEAD} {{ e = Gather(table, tokens) r = Tanh(e) y = MatMul(r, w2) }}",
        table=table, w2=w(6, 3, zero=(5,)),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["table"], found["w2"]) == ((11, 3), (3, 3))


def test_a_zero_for_some_tokens_stays() -> None:
    w = Weights()
    table = w(11, 6)
    table[:10, 2] = 0
    model = build(f"{HEAD} {{ e = Gather(table, tokens) y = MatMul(e, w2) }}", table=table, w2=w(6, 3))
    assert widths(shrunk(model)[0])["table"] == (11, 6)


def test_tokens_and_positions_add_up() -> None:
    """Both tables lose what is zero in both; the table of positions is cut to the sequence by constant indices."""
    w = Weights()
    model = build(
        f"{HEAD} {{ e = Gather(table, tokens) q = Gather(places, first) s = Add(e, q) y = MatMul(s, w2) }}",
        table=w(11, 6, zero=(1, 2, 4), axis=1), places=w(9, 6, zero=(0, 2, 4), axis=1), w2=w(6, 3),
        first=np.arange(5),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert found["table"] == (11, 4)
    assert (9, 4) in found.values() or (5, 4) in found.values()


def test_two_tables_that_are_one() -> None:
    """A tied table, which turns tokens into dimensions and dimensions into scores, keeps its tokens."""
    w = Weights()
    model = build(
        f"{HEAD} {{ e = Gather(table, tokens) r = Tanh(e) t = Transpose(table) y = MatMul(r, t) }}",
        table=w(11, 6, zero=(1, 4), axis=1),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert all(11 in shape and 4 in shape for shape in widths(slim).values())


def test_the_gathered_axis_stays() -> None:
    """Nobody knows which rows are read, so the rows of a table and of an activation stay."""
    w = Weights()
    model = build(
        "(float[N,3,8,8] x, int64[2] picks) => (float[N,2,8,8] y) { a = Conv(x, w1) g = Gather<axis=1>(a, picks)"
        " y = Relu(g) }",
        w1=w(6, 3, 1, 1, zero=(1, 2)),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"][0] == 6


def test_the_dimensions_are_offered() -> None:
    w = Weights()
    model = build(f"{HEAD} {{ e = Gather(table, tokens) r = Tanh(e) y = MatMul(r, w2) }}", table=w(11, 6), w2=w(6, 3))
    found = classes(graph.analyse(model))
    assert len(found) == 6
    assert found.reduce(np.abs).all()
    pruned = found.zeroed(np.arange(6) < 2)
    assert widths(shrunk(pruned)[0])["table"] == (11, 4)
