"""Einsum: its equation says which axes are the same channels and what is summed; anything else would freeze."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from models import Array, Weights, build, shrunk, widths
from onnx import ModelProto

import graph
from graph.candidates.classes import classes

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 6}


@pytest.mark.parametrize("equation", ["nsi,io->nso", "...i,io->...o", "asi , iz", "xsi,ij->xsj", "io,nsi->nso"])
def test_a_linear_layer(equation: str) -> None:
    """Zeros leave, and of two constant channels one carries the other."""
    w = Weights()
    bias = w(6, zero=(1,))
    bias[[3, 5]] = 0.5, -2
    operands = "t, w2" if equation[0] != "i" else "w2, t"
    model = build(
        f"(float[N,5,4] x) => (float[N,5,p] y) {{ a = MatMul(x, w1) s = Add(a, b1) t = Tanh(s)"
        f' h = Einsum<equation="{equation}">({operands}) y = MatMul(h, w3) }}',
        w1=w(4, 6, zero=(1, 3, 5), axis=1), b1=bias, w2=w(6, 7, zero=(0, 2), axis=1), w3=w(7, 3),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w2"], found["w3"]) == ((4, 4), (4, 5), (5, 3))


def test_heads_and_dimensions_are_two_sums() -> None:
    """A head that is zero leaves, and so does a dimension that no head's weights read."""
    w = Weights()
    out = w(3, 4, 6, zero=(1,), axis=1)
    model = build(
        '(float[N,5,6] x) => (float[N,5,6] y) { v = Einsum<equation="bsi,ihd->bshd">(x, w1) r = Relu(v)'
        ' y = Einsum<equation="bshd,hdo->bso">(r, w2) }',
        w1=w(6, 3, 4, zero=(2,), axis=1), w2=out,
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w2"]) == ((6, 2, 3), (2, 3, 6))


def test_neither_of_two_sums_is_unread_because_of_the_other() -> None:
    """One weight is left: its row and its column each are read by nothing but the other."""
    w = Weights()
    out = np.zeros((3, 4, 6), np.float32)
    out[1, 2] = 1
    model = build(
        '(float[N,5,6] x) => (float[N,5,6] y) { v = Einsum<equation="bsi,ihd->bshd">(x, w1) r = Relu(v)'
        ' y = Einsum<equation="bshd,hdo->bso">(r, w2) }',
        w1=w(6, 3, 4), w2=out,
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (6, 1, 1)


def test_attention() -> None:
    """Queries and keys pair off, values go to the output, heads are the same everywhere."""
    w = Weights()
    value, out = w(6, 3, 4, zero=(1,), axis=1), w(3, 4, 6)
    value[..., 3] = 0
    model = build(
        '(float[N,5,6] x) => (float[N,5,6] y) { q = Einsum<equation="bsi,ihd->bhsd">(x, wq)'
        ' k = Einsum<equation="bsi,ihd->bhsd">(x, wk) v = Einsum<equation="bsi,ihd->bhsd">(x, wv)'
        ' s = Einsum<equation="bhqd,bhkd->bhqk">(q, k) p = Softmax<axis=-1>(s)'
        ' o = Einsum<equation="bhqk,bhkd->bqhd">(p, v) y = Einsum<equation="bqhd,hdo->bqo">(o, wo) }',
        wq=w(6, 3, 4, zero=(0,), axis=2), wk=w(6, 3, 4), wv=value, wo=out,
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["wq"], found["wk"], found["wv"], found["wo"]) == ((6, 2, 3), (6, 2, 3), (6, 2, 3), (2, 3, 6))


@pytest.mark.parametrize(
    ("equation", "weights", "offered"),
    [
        ("nsi,ii->ns", {"w2": (6, 6)}, 0),  # a diagonal
        ("nsi->ns", {}, 0),  # a sum of one operand
        ("nsi,i,i->ns", {"w2": (6,), "w3": (6,)}, 0),  # a sum over three
        ("nsi,io,op->nsp", {"w2": (6, 4), "w3": (4, 3)}, 6),  # two sums over two
        ("nsi,i->nsi", {"w2": (6,)}, 0),  # an output of the graph
        ("nsi->nis", {}, 0),
    ],
)
def test_what_is_offered(equation: str, weights: dict[str, tuple[int, ...]], offered: int) -> None:
    w = Weights()
    rank = len(equation.split("->")[1])
    model = build(
        f"(float[2,5,4] x) => (float[{','.join('pqr'[:rank])}] y) {{ t = MatMul(x, w1)"
        f' y = Einsum<equation="{equation}">({", ".join(["t", *weights])}) }}',
        w1=w(4, 6, zero=(1,), axis=1), **{name: w(*shape) for name, shape in weights.items()},
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert found["w1"] == (4, 5 if offered else 6)
    assert len(classes(graph.analyse(model))) == offered


@st.composite
def products(draw: st.DrawFn) -> ModelProto:
    """Two or three operands, constant or scaled inputs, with zeros; a linear layer reads the last axis of the sum."""
    w = Weights(draw(st.integers(0, 2**16)))
    count = draw(st.sampled_from([2, 2, 2, 3]))
    terms = [draw(st.permutations(sorted(SIZES)))[: draw(st.integers(1, 3))] for _ in range(count)]
    letters = sorted({letter for term in terms for letter in term})
    output = draw(st.permutations(letters))[: draw(st.integers(1, 3))]
    inputs, nodes, names, stored = [], [], [], {}

    def dotted(array: Array) -> Array:
        for axis in range(array.ndim):
            if draw(st.booleans()):
                np.moveaxis(array, axis, 0)[w.rng.random(array.shape[axis]) < 0.4] = draw(st.sampled_from([0, 0, 0.5]))
        return array

    for place, term in enumerate(terms):
        shape = [SIZES[letter] for letter in term]
        array = dotted(w(*shape))
        stored[f"w{place}"] = array
        names.append(f"w{place}")
        if place == 0 or draw(st.booleans()):
            inputs.append(f"float[{','.join(map(str, shape))}] x{place}")
            nodes.append(f"p{place} = Mul(x{place}, w{place}) h{place} = Add(p{place}, s{place})")
            stored[f"s{place}"] = np.where(w.rng.random(shape) < 0.5, array, 0).astype(np.float32) * (array == 0.5)
            stored[f"w{place}"] = np.where(array == 0.5, 0, array).astype(np.float32)
            names[-1] = f"h{place}"
    equation = ",".join("".join(term) for term in terms) + "->" + "".join(output)
    rank = ",".join(f"o{axis}" for axis in range(len(output)))
    note(equation)
    return build(
        f"({', '.join(inputs)}) => (float[{rank}] y) {{ {' '.join(nodes)}"
        f' e = Einsum<equation="{equation}">({", ".join(names)}) y = MatMul(e, last) }}',
        last=dotted(w(SIZES[output[-1]], 2)), **stored,
    )  # fmt: skip


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(products())
def test_any_equation(model: ModelProto) -> None:
    shrunk(model)
