"""Shapes that a model computes from its own tensors: they adapt, are rewritten, or hold what they are about."""

from __future__ import annotations

import numpy as np
import pytest
from models import Weights, build, ops, shrunk, widths

W = Weights()
HEADS = np.array([3])
WIDTH = np.array([4])
PICK = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "rest": np.array([-1])}


def heads(view: str, dead: tuple[int, ...] = (4, 5, 6, 7), **more):
    """Tokens [N, T, 12] as 3 heads of 4, of which the middle one is dead, by a computed shape ``view``."""
    return build(
        f"""(float[N,T,5] x) => (float[N,T,2] y) {{
            q = MatMul(x, w1)
            s = Shape(q)
            n = Gather(s, zero)
            t = Gather(s, one)
            {view}
            h = Reshape(q, v)
            r = Relu(h)
            back = Concat<axis=0>(n, t, rest)
            f = Reshape(r, back)
            y = MatMul(f, w2)
        }}""",
        w1=W(5, 12, zero=dead, axis=1), w2=W(12, 2), **PICK, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("view", "left"),
    [
        ("v = Concat<axis=0>(n, t, h0, w0)", 8),
        ("v = Concat<axis=0>(n, t, h0, rest)", 8),
        ("v = Concat<axis=0>(n, rest, h0, w0)", 8),
        ("p = Mul(h0, once) v = Concat<axis=0>(n, t, p, w0)", 8),  # of constants alone: another constant
        ("l = Div(t, once) v = Concat<axis=0>(n, l, h0, w0)", 8),  # one that is computed, but not along the heads
        ("g = Gather(s, two) m = Div(g, w0) v = Concat<axis=0>(n, t, m, w0)", 12),  # the number of heads is computed
    ],
)
def test_dead_heads_go_where_the_shape_can_follow(view, left):
    slim, _ = shrunk(heads(view, h0=HEADS, w0=WIDTH, once=np.array([1])))
    assert widths(slim)["w1"] == (5, left)


def test_one_constant_in_two_shapes_keeps_them_equal():
    """A Concat makes the target of two Reshapes; a head goes only if it is dead in both."""
    model = build(
        """(float[N,T,5] x) => (float[N,T,2] y, float[N,T,2] z) {
            a = MatMul(x, w1)
            b = MatMul(x, w2)
            s = Shape(x)
            n = Gather(s, zero)
            v = Concat<axis=0>(n, rest, h0, w0)
            c = Reshape(a, v)
            d = Reshape(b, v)
            e = Reshape(c, flat)
            f = Reshape(d, flat)
            y = MatMul(e, w3)
            z = MatMul(f, w4)
        }""",
        w1=W(5, 12, zero=(0, 1, 2, 3), axis=1), w2=W(5, 12, zero=(0, 1, 2, 3, 4, 5, 6, 7), axis=1),
        w3=W(12, 2), w4=W(12, 2), h0=HEADS, w0=WIDTH, flat=np.array([0, 0, -1]), **PICK,
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w1"] == widths(slim)["w2"] == (5, 8)


def test_a_key_that_torch_turns_around_loses_heads_for_any_batch():
    """The batch is merged with the heads, turned, and split again."""
    model = build(
        """(float[N,T,5] x) => (float[N,T,2] y) {
            k = MatMul(x, w1)
            h = Reshape(k, split)
            t = Transpose<perm=[0,2,1,3]>(h)
            s = Shape(t)
            lead = Slice(s, zero, two)
            a = Slice(s, two, three)
            b = Slice(s, three, end)
            flat = Concat<axis=0>(rest, a, b)
            m = Reshape(t, flat)
            u = Transpose<perm=[0,2,1]>(m)
            whole = Concat<axis=0>(lead, b, a)
            r = Reshape(u, whole)
            c = Transpose<perm=[0,3,1,2]>(r)
            d = Reshape(c, join)
            y = MatMul(d, w2)
        }""",
        w1=W(5, 12, zero=(4, 5, 6, 7), axis=1), w2=W(12, 2), split=np.array([0, 0, 3, 4]), join=np.array([0, 0, -1]),
        three=np.array([3]), end=np.array([99]), **PICK,
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w1"] == (5, 8)


def test_resized_to_the_size_of_another_tensor():
    """``sizes`` names all axes, so the resized tensor keeps as many channels as the one whose shape is read."""
    model = build(
        """(float[N,3,8,8] x) => (float[N,4,8,8] y, float[N,3,8,8] z) {
            a = Conv(x, w1)
            z = Conv(a, w2)
            p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
            s = Shape(a)
            r = Resize<mode="nearest">(p, , , s)
            y = Conv(r, w3)
        }""",
        w1=W(9, 3, 1, 1, zero=(1, 2)), w2=W(3, 9, 1, 1), w3=W(4, 9, 1, 1, zero=(3, 4, 5), axis=1),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w1"] == (7, 3, 1, 1)


def test_a_constant_in_a_concat_goes_as_a_whole():
    model = build(
        """(float[2,2,2] x) => (float[2,2,2] y) {
            a = MatMul(x, w)
            p = Transpose<perm=[2,0,1]>(a)
            c = Concat<axis=0>(p, k)
            t = Transpose<perm=[2,1,0]>(c)
            y = MatMul(t, v)
        }""",
        w=W(2, 2), k=np.ones((2, 2, 2), np.float32), v=W(4, 2, zero=(1, 2, 3)),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert "Concat" not in ops(slim) and "k" not in widths(slim)


def test_an_input_that_is_broadcast_over_a_grid_keeps_its_length():
    model = build(
        """(float[2,3] x, float[3] b) => (float[2,2] y) {
            a = MatMul(x, w)
            h = Reshape(a, s)
            z = Add(h, b)
            r = Reshape(z, u)
            y = MatMul(r, v)
        }""",
        w=W(3, 6), v=W(6, 2, zero=(1, 4)), s=np.array([2, 2, 3]), u=np.array([2, 6]),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w"] == (3, 6)


def test_the_mean_of_a_constant_is_the_constant():
    """Rows of a Softmax sum to one: a constant head leaves attention as a constant, which the projection absorbs."""
    model = build(
        """(float[N,6,5] x) => (float[N,6,2] y) {
            q = MatMul(x, w1)
            k = Transpose<perm=[0,2,1]>(q)
            s = MatMul(q, k)
            p = Softmax<axis=-1>(s)
            m = MatMul(x, w2)
            v = Add(m, b)
            o = MatMul(p, v)
            y = MatMul(o, w3)
        }""",
        w1=W(5, 4), w2=W(5, 7, zero=(0, 3), axis=1), b=np.arange(1, 8, dtype=np.float32), w3=W(7, 2),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w2"] == (5, 5) and widths(slim)["w3"] == (5, 2)


@pytest.mark.parametrize("filled", [0.0, 0.5])
def test_a_token_made_of_sizes_follows_the_width(filled: float):
    """A class token as torch exports it from ``zeros(batch, 1, width) + token``, before the tokens of patches."""
    w1, w2, token = W(20, 5, zero=(3, 7)), W(20, 2), W(1, 1, 20)
    token[..., (3, 7)] = -filled
    model = build(
        """(float[N,T,5] x) => (float[N,M,2] y) {
            s = Shape(x)
            n = Gather(s, zero)
            v = Concat<axis=0>(n, ones, wide)
            blank = ConstantOfShape<value=filling>(v)
            first = Add(blank, token)
            patches = MatMul(x, w1)
            t = Concat<axis=1>(first, patches)
            y = MatMul(t, w2)
        }""".replace("filling", f"float[1] filling {{{filled}}}"),
        w1=w1.T.copy(), w2=w2, token=token, ones=np.array([1]), wide=np.array([20]), **PICK,
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim)["w1"] == (5, 18) and widths(slim)["token"] == (1, 1, 18)
