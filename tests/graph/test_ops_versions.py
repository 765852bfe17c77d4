"""Operators as older operator sets had them: a rule that holds since opset 13 may be wrong before."""

from __future__ import annotations

import numpy as np
import pytest
from models import Array, Weights, assert_close, build, feeds, run, shrunk, widths
from onnx import ModelProto

import graph

PAD = "pads=[1,1,1,1]"


def network(op: str, opset: int, **stored: Array) -> ModelProto:
    """``op`` between two convolutions; two of six channels are zero."""
    w = Weights()
    return build(
        f"(float[2,3,6,6] x) => (float[a,b,c,d] y) {{ a = Conv<{PAD}>(x, w1) r = Relu(a) {op} y = Conv(f, w2) }}",
        opset=opset, ir=7, w1=w(6, 3, 3, 3, zero=(1, 2)), w2=w(2, 6, 1, 1), **stored,
    )  # fmt: skip


EACH = np.linspace(1, 2, 6, dtype=np.float32)


@pytest.mark.parametrize(
    ("opset", "op"),
    [
        (7, 'f = Upsample<mode="nearest", scales=[1., 1., 2., 2.]>(r)'),
        (9, 'f = Upsample<mode="linear">(r, double)'),
        (10, 'f = Resize<mode="nearest">(r, double)'),
        (11, 'f = Resize<mode="nearest">(r, none, double)'),
        (11, 'f = Resize<mode="nearest">(r, none, none, sizes)'),
        (7, "f = Pad<pads=[0,0,1,1,0,0,1,1]>(r)"),
        (18, "f = Pad(r, pads, , last)"),
        (10, "f = Clip<min=0., max=1.>(r)"),
        (7, "f = Dropout<ratio=0.5>(r)"),
        (7, "f = PRelu(r, slope)"),
        (9, "f = PRelu(r, row)"),
        (7, "f = BatchNormalization(r, each, each, each, each)"),
        (15, "f = BatchNormalization(r, each, nil, each, each)"),
        (18, "s, t = Split<axis=1, num_outputs=2>(r) f = Concat<axis=1>(t, s)"),
        (15, "f = CastLike(r, each)"),
        (8, "f = Expand(r, whole)"),
        (7, "f = Tile(r, once)"),
    ],
)
def test_zeros_leave(opset: int, op: str) -> None:
    model = network(
        op, opset, double=np.array([1, 1, 2, 2], np.float32), none=np.zeros(0, np.float32), nil=np.zeros(6, np.float32),
        sizes=np.array([2, 6, 9, 9]), pads=np.array([1, 1]), last=np.array([-1]), slope=EACH.reshape(6, 1, 1),
        row=EACH, each=EACH, whole=np.array([2, 6, 6, 6]), once=np.array([1, 1, 2, 1]),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"][0] == 4


@pytest.mark.parametrize(
    ("opset", "op"),
    [
        (6, "f = Add<axis=1, broadcast=1>(r, each)"),
        (6, "f = PRelu(r, each)"),
        (6, "f = Dropout(r)"),
        (6, "f = BatchNormalization(r, each, each, each, each)"),
        (1, "f = Reshape<shape=[2,6,36,1]>(r)"),
        (7, "f = BatchNormalization<spatial=0>(r, cube, cube, cube, cube)"),
        (15, "f, m, v = BatchNormalization<training_mode=1>(r, each, each, each, each)"),
        (11, "f = Softmax<axis=1>(r)"),
        (12, "f = LogSoftmax(r)"),
        (12, "f = Dropout(r, half, train)"),
    ],
)
def test_they_freeze(opset: int, op: str) -> None:
    """ONNX Runtime knows few of them, so the model is only looked at."""
    model = network(
        op, opset, each=EACH, cube=np.ones((6, 6, 6), np.float32), half=np.array(0.5, np.float32), train=np.array(True)
    )
    assert widths(graph.shrink(model)[0])["w1"][0] == 6


def test_a_group_norm_that_onnx_refuses() -> None:
    """Runtimes do not: that of opset 18 to 20, with a scale per group."""
    model = network("f = GroupNormalization<num_groups=3>(r, scale, shift)", 18, scale=EACH[:3], shift=EACH[3:])
    slim, certificate = graph.shrink(model)
    inputs = feeds(model)
    assert_close(run(slim, inputs)["y"], run(model, inputs)["y"])
    assert [frozen.op for frozen in certificate.frozen] == ["GroupNormalization:f"]
