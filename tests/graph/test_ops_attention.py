"""Attention as one operator: whole heads, dimensions of queries and keys, and dimensions of values leave."""

from __future__ import annotations

import numpy as np
import pytest
from models import Array, Weights, build, ops, shrunk, widths
from onnx import ModelProto, helper

HEADS, SIZE = 3, 4


def split(w: Weights, *, zero_head: int | None = None, zero_size: int | None = None) -> Array:
    """A projection [features, heads * sizes] with zeros."""
    weight = w(6, HEADS, SIZE)
    if zero_head is not None:
        weight[:, zero_head] = 0
    if zero_size is not None:
        weight[..., zero_size] = 0
    return weight.reshape(6, HEADS * SIZE)


def block(node: str, *, batch: str = "N", kv_heads: int = HEADS, **stored: Array) -> ModelProto:
    """Projections to heads, ``node``, and back; head 1 has no value, and two sizes are zero in queries and values."""
    w = Weights()
    value = split(w, zero_head=1, zero_size=3)[:, : kv_heads * SIZE]
    return build(
        f"(float[{batch},5,6] x) => (float[a,b,c] y) {{ q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv)"
        " qs = Reshape(q, heads) ks = Reshape(k, kv_heads) vs = Reshape(v, kv_heads)"
        " qh = Transpose<perm=[0,2,1,3]>(qs) kh = Transpose<perm=[0,2,1,3]>(ks) vh = Transpose<perm=[0,2,1,3]>(vs)"
        f" {node} t = Transpose<perm=[0,2,1,3]>(o) f = Reshape(t, flat) y = MatMul(f, wo) }}",
        opset=23, wq=split(w, zero_size=0), wk=split(w)[:, : kv_heads * SIZE], wv=value, wo=w(HEADS * SIZE, 6),
        heads=np.array([0, 5, HEADS, -1]), kv_heads=np.array([0, 5, kv_heads, -1]),
        flat=np.array([0, 5, HEADS * SIZE]), **stored,
    )  # fmt: skip


@pytest.mark.parametrize(
    "node",
    [
        "o = Attention(qh, kh, vh)",
        "o = Attention<scale=0.3, softcap=2.0>(qh, kh, vh)",
        "o = Attention<is_causal=1>(qh, kh, vh)",
        "o = Attention(qh, kh, vh, mask)",
        "o = Attention(qh, kh, vh, flags)",
        "o = Attention(qh, kh, vh, each)",
    ],
)
def test_heads_and_sizes_leave(node: str) -> None:
    rng = np.random.default_rng(0)
    model = block(
        node, mask=rng.standard_normal((5, 5)).astype(np.float32), flags=np.tri(5, dtype=bool),
        each=rng.standard_normal((1, HEADS, 5, 5)).astype(np.float32),
    )  # fmt: skip
    slim, _ = shrunk(model)
    found = widths(slim)
    assert (found["wq"], found["wk"], found["wv"], found["wo"]) == ((6, 6), (6, 6), (6, 6), (6, 6))
    assert ops(slim) == ops(model)
    (made,) = [each for each in slim.graph.node if each.op_type == "Attention"]
    scale = next(helper.get_attribute_value(each) for each in made.attribute if each.name == "scale")
    assert scale == pytest.approx(0.3 if "scale" in node else SIZE**-0.5)  # of the four that there were
    if "each" in node:
        assert found["each"] == (1, 2, 5, 5)


def test_a_mask_from_outside_keeps_the_heads() -> None:
    text = "(float[N,5,6] x, float[N,3,5,5] m) => (float[a,b,c] y)"
    w = Weights()
    model = build(
        f"{text} {{ v = MatMul(x, wv) vs = Reshape(v, heads) vh = Transpose<perm=[0,2,1,3]>(vs)"
        " o = Attention(vh, vh, vh, m) t = Transpose<perm=[0,2,1,3]>(o) f = Reshape(t, flat) y = MatMul(f, wo) }",
        opset=23, wv=split(w, zero_head=1, zero_size=2), wo=w(12, 6), heads=np.array([0, 5, 3, 4]),
        flat=np.array([0, 5, -1]),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["wv"] == (6, 9)


def test_heads_that_share_keys_stay() -> None:
    found = widths(shrunk(block("o = Attention(qh, kh, vh)", kv_heads=1))[0])
    assert (found["wq"], found["wk"], found["wv"], found["wo"]) == ((6, 9), (6, 3), (6, 3), (9, 6))


@pytest.mark.parametrize(
    "node", ["o, pk, pv = Attention(qh, kh, vh, , past, past)", "o, , , s = Attention(qh, kh, vh)"]
)
def test_caches_and_scores_freeze(node: str) -> None:
    model = block(node, batch="2", past=np.zeros((2, HEADS, 2, SIZE), np.float32))
    found = widths(shrunk(model)[0])
    assert (found["wq"], found["wv"]) == ((6, 12), (6, 12))


@pytest.mark.parametrize("op", ["RotaryEmbedding(#, cos, sin)", "RMSNormalization(#, gain)"])
def test_what_mixes_a_head_keeps_its_sizes(op: str) -> None:
    """Dimensions turn in pairs or are scaled in common; heads leave."""
    w = Weights()
    model = block(
        f"qr = {op.replace('#', 'qh')} kr = {op.replace('#', 'kh')} o = Attention(qr, kr, vh)",
        batch="2", cos=w(2, 5, 2), sin=w(2, 5, 2), gain=w(4),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["wq"], found["wk"], found["wv"]) == ((6, 8), (6, 8), (6, 6))


def test_scores_with_a_bias_for_every_pair_of_many_tokens_lose_heads() -> None:
    """Ids for every element would be half a million here, and billions in a video transformer."""
    w = Weights()
    dead = (6, 7)
    model = build(
        """(float[N,256,6] x) => (float[N,256,3] y) {
            q = MatMul(x, wq) q4 = Reshape(q, apart) qt = Transpose<perm=[0,2,1,3]>(q4)
            k = MatMul(x, wk) k4 = Reshape(k, apart) kt = Transpose<perm=[0,2,3,1]>(k4)
            v = MatMul(x, wv) v4 = Reshape(v, apart) vt = Transpose<perm=[0,2,1,3]>(v4)
            s = MatMul(qt, kt) b = Add(s, bias) p = Softmax(b) o = MatMul(p, vt)
            ot = Transpose<perm=[0,2,1,3]>(o) of = Reshape(ot, together) y = MatMul(of, wo)
        }""",
        wq=w(6, 16), wk=w(6, 16), wv=w(6, 16), wo=w(16, 3, zero=dead), bias=w(1, 256, 256),
        apart=np.array([0, 256, 8, 2]), together=np.array([0, 256, 16]),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert [widths(slim)[name] for name in ("wq", "wk", "wv", "wo")] == [(6, 14), (6, 14), (6, 14), (14, 3)]
