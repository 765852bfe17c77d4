"""LSTM, GRU and RNN lose features of their input, and nothing inside."""

from __future__ import annotations

import numpy as np
import pytest
from models import Array, Weights, assert_close, build, feeds, shrunk, widths
from onnx.reference import ReferenceEvaluator

import graph

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
HIDDEN = 5


def weights(w: Weights, kind: str, directions: int = 1) -> dict[str, Array]:
    rows = GATES[kind] * HIDDEN
    return {
        "wx": w(directions, rows, 6, zero=(0,), axis=2),
        "wh": w(directions, rows, HIDDEN),
        "b": w(directions, 2 * rows),
        "lengths": np.array([7, 3], np.int32),
        "h0": w(directions, 2, HIDDEN),
        "c0": w(directions, 2, HIDDEN),
        "peep": w(directions, 3 * HIDDEN),
    }


@pytest.mark.parametrize(
    ("kind", "node"),
    [
        ("RNN", "r, h = RNN<hidden_size=5>(t, wx, wh)"),
        ("RNN", 'r = RNN<hidden_size=5, direction="reverse">(t, wx, wh, b)'),
        ("GRU", "r, h = GRU<hidden_size=5, linear_before_reset=1>(t, wx, wh, b)"),
        ("GRU", 'r = GRU<hidden_size=5, direction="bidirectional">(t, wx, wh, , lengths, h0)'),
        ("LSTM", "r, h, c = LSTM<hidden_size=5>(t, wx, wh, b, lengths, h0, c0, peep)"),
        ("LSTM", 'r, h = LSTM<hidden_size=5, direction="bidirectional">(t, wx, wh, , , h0, c0)'),
        ("LSTM", "r = LSTM<hidden_size=5>(t, wx, wh, b, , , , peep)"),
        ("LSTM", ", r = LSTM<hidden_size=5>(t, wx, wh)"),
        ("LSTM", ", , r = LSTM<hidden_size=5, clip=0.5>(t, wx, wh, b)"),
    ],
)
def test_features_leave(kind: str, node: str) -> None:
    """One is zero and one unread; of two constants none can stand for the other, since there is a bias per gate."""
    w = Weights()
    bias = w(6, zero=(1,))
    bias[[3, 5]] = 0.5, -2
    directions = 2 if "bidirectional" in node else 1
    rank = 4 if node.lstrip().startswith("r") else 3
    model = build(
        f"(float[7,2,4] x) => (float[{','.join('mnop'[:rank])}] y) {{ a = MatMul(x, w1) s = Add(a, b1) t = Tanh(s)"
        f" {node} y = Tanh(r) }}",
        w1=w(4, 6, zero=(1, 3, 5), axis=1), b1=bias, **weights(w, kind, directions),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["wx"][2]) == ((4, 4), 4)
    assert found["wh"] == (directions, GATES[kind] * HIDDEN, HIDDEN)


@pytest.mark.parametrize("kind", GATES)
def test_batch_first(kind: str) -> None:
    """ONNX Runtime does not know this layout, onnx's reference does."""
    w = Weights()
    model = build(
        "(float[2,7,4] x) => (float[m,n,o,p] y) { a = MatMul(x, w1) t = Tanh(a)"
        f" r, h = {kind}<hidden_size=5, layout=1>(t, wx, wh) y = Tanh(r) }}",
        w1=w(4, 6, zero=(1,), axis=1), **weights(w, kind),
    )  # fmt: skip
    slim, _ = graph.shrink(model)
    assert widths(slim)["wx"][2] == 4
    expected, found = (ReferenceEvaluator(each).run(None, feeds(model))[0] for each in (model, slim))
    assert_close(found, expected)


def test_hidden_features_stay() -> None:
    w = Weights()
    model = build(
        "(float[7,2,6] x) => (float[m,n,o,p] y) { r = LSTM<hidden_size=5>(x, wx, wh) y = MatMul(r, w2) }",
        w2=w(5, 3, zero=(1, 2)), **weights(w, "LSTM"),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w2"], found["wh"]) == ((5, 3), (1, 20, 5))


def test_a_layer_behind_a_layer() -> None:
    """Directions and features of the first are flattened for the second."""
    w = Weights()
    model = build(
        '(float[7,2,6] x) => (float[m,n,o,p] y) { r = GRU<hidden_size=5, direction="bidirectional">(x, wx, wh)'
        " t = Transpose<perm=[0,2,1,3]>(r) f = Reshape(t, flat) y = GRU<hidden_size=5>(f, wx2, wh2) }",
        flat=np.array([0, 0, -1]), wx2=w(1, 15, 10, zero=(3, 4), axis=2), wh2=w(1, 15, 5), **weights(w, "GRU", 2),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["wx2"] == (1, 15, 10)
