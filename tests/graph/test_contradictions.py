"""Sizes that contradict each other, where onnx's own inference does not look: one line that names the node."""

from __future__ import annotations

import numpy as np
import pytest
from models import Weights, build, shrunk, widths

import graph

W = Weights()


@pytest.mark.parametrize(
    ("op", "weights"),
    [
        ("Conv(x, w)", {"w": W(4, 5, 3, 3)}),
        ("Conv<group=3>(x, w)", {"w": W(6, 1, 3, 3)}),
        ("ConvTranspose(x, w)", {"w": W(5, 4, 2, 2)}),
        ("DepthToSpace<blocksize=3>(x)", {}),
    ],
)
def test_one_line_names_the_node(op, weights):
    model = build(f"(float[N,4,8,8] x) => (float[N,c,h,w] y) {{ a = {op} y = Relu(a) }}", **weights)
    with pytest.raises(graph.ModelError, match="a has inconsistent shapes"):
        graph.shrink(model)


def test_an_einsum_over_an_open_size_is_no_constant():
    model = build(
        """(float[N,3,H,W] x) => (float[N,2] y) {
            a = Conv(x, w, b)
            e = Einsum<equation="nchw,nchw->nc">(a, a)
            t = Tanh(e)
            y = MatMul(t, v)
        }""",
        w=W(4, 3, 1, 1, zero=(1,)), b=np.full(4, 0.1, np.float32), v=W(4, 2),
    )  # fmt: skip
    shrunk(model)


@pytest.mark.parametrize("opset", [12, 13, 17, 18])
def test_parts_of_a_split_may_become_uneven(opset):
    parts = ", num_outputs=3" if opset > 17 else ""
    model = build(
        f"""(float[2,3] x) => (float[2,2] y) {{
            a = MatMul(x, w)
            p, q, r = Split<axis=1{parts}>(a)
            b = Add(p, q)
            y = MatMul(b, v)
        }}""",
        opset=opset, w=W(3, 6), v=W(2, 2, zero=(1,)),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w"] == (3, 3)
