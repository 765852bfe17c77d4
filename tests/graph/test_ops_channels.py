"""Operators between two convolutions: dead channels leave through them, or are held, and the outputs stay equal."""

from __future__ import annotations

import numpy as np
import pytest
from models import Array, Weights, build, shrunk, widths
from onnx import ModelProto

import graph
from graph.candidates.classes import classes

PAD = "pads=[1,1,1,1]"
random = np.random.default_rng(0)

INDICES = {
    "zero": 0, "one": 1, "three": [3], "last": [2, 3], "four": [4], "all": [1, 2, 3], "lengths": [3, 6],
    "steps": [3, 8, 1, 2, 5, 7, 4, 6], "ones": [[1], [1]], "of": [1, 0], "crop": [4, 12], "crop_all": [2, 6, 4, 12],
    "widths": [0, 0, 1, 2, 0, 0, 1, 0], "around": [0, 1, 0, 0, 0, 1, 0, 0], "sizes": [2, 6, 12, 12], "image": [12, 12],
    "rows": np.broadcast_to(np.arange(8).reshape(1, 1, 8, 1) // 2, (2, 6, 8, 8)),
    "channels": np.broadcast_to(np.arange(6).reshape(1, 6, 1, 1) // 2, (2, 6, 8, 8)),
    "few": np.zeros((2, 4, 8, 8)),
}  # fmt: skip
NUMBERS = {
    "updates": np.ones((2, 4, 8, 8)), "patch": np.zeros((2, 6, 8, 8)), "empty": np.zeros((2, 8, 2, 6)),
    "full": np.ones((2, 8, 2, 6)), "square": np.eye(6), "roi": [0, 0, 0, 0, 1, 1, 0.5, 0.5], "double": [1, 1, 2, 2],
    "hardly": [1, 1.1, 1, 1], "boxes": [[0, 0, 5, 5], [1, 1, 9, 9]], "regions": [[0, 0, 0, 5, 5], [1, 1, 1, 9, 9]],
    "grid": random.uniform(-1.5, 1.5, (2, 4, 4, 2)), "gain": range(6), "shift": [1, 0, 2, 3, 4, 5],
    "line": np.linspace(1, 2, 8), "each": random.uniform(1, 2, (6, 1, 8)), "kernel": random.normal(size=(6, 6, 3, 3)),
    "bent": random.normal(size=(2, 18, 6, 6)), "bent_apart": random.normal(size=(2, 36, 6, 6)),
    "weight": random.uniform(0, 1, (2, 9, 6, 6)), "six": random.normal(size=6),
    "spread": random.normal(size=(6, 6, 3, 3)),
    "ranges": random.uniform(1, 2, (2, 6, 8, 8)),
}  # fmt: skip
STORED: dict[str, Array] = {name: np.asarray(value, np.int64) for name, value in INDICES.items()}
STORED |= {name: np.asarray(value, np.float32) for name, value in NUMBERS.items()}


def network(op: str, made: int = 6) -> ModelProto:
    """``op`` between convolutions, from six channels, of which two are zero and one is constant, to ``made``."""
    w = Weights()
    bias = w(6, zero=(1, 2))
    bias[4] = 0.7
    return build(
        f"(float[2,3,8,8] x, float[2,3,8,8] u) => (float[a,b,c,d] y) {{ a = Conv<{PAD}>(x, w1, b1) r = Relu(a)"
        f" t = Transpose<perm=[2,3,0,1]>(r) m = ReduceMax<keepdims=0>(u, all) q = Cast<to=7>(m) {op}"
        " y = Conv(f, w2, b2) }",
        opset=21, w1=w(6, 3, 3, 3, zero=(1, 2, 4)), b1=bias, w2=w(2, made, 1, 1), b2=w(2), **STORED,
    )  # fmt: skip


def left(model: ModelProto) -> int:
    """How many of the six channels are left."""
    return widths(shrunk(model)[0])["w1"][0]


def offered(model: ModelProto) -> int:
    """How many of the six channels could leave if their weights were zero."""
    return len(classes(graph.analyse(model)))


KEEP_CONSTANTS = [
    "f, i = TopK<axis=2>(r, four)",
    "f = GatherElements<axis=2>(r, rows)",
    "f = Gather<axis=2>(r, q)",
    "i = Unsqueeze(q, one) g = GatherND(t, i) f = Transpose<perm=[2,3,0,1]>(g)",
    "c = Transpose<perm=[0,2,3,1]>(r) i = Unsqueeze(q, one) g = GatherND<batch_dims=1>(c, i)"
    " n = Transpose<perm=[0,2,1]>(g) f = Unsqueeze(n, three)",
    "s = ReverseSequence<time_axis=0, batch_axis=1>(t, steps) f = Transpose<perm=[2,3,0,1]>(s)",
    'f = Resize<mode="nearest">(r, , double)',
    'f = Resize<mode="nearest">(r, , , sizes)',
    'f = Resize<mode="nearest", axes=[2,3]>(r, , , image)',
    'f = Pad<mode="reflect">(r, widths)',
    'f = Pad<mode="edge">(r, widths)',
    'f = Einsum<equation="nchw->ncwh">(r)',
    'e = Einsum<equation="...i,...i->...">(r, r) f = Unsqueeze(e, three)',
]
KEEP_ZEROS = [
    "f = CumSum(r, three)",
    "s = ScatterND(t, ones, empty) f = Transpose<perm=[2,3,0,1]>(s)",
    "f = ScatterElements<axis=2>(r, rows, patch)",
    'f = ScatterElements<axis=2, reduction="add">(r, rows, r)',
    "f = Trilu(r)",
    "f = LayerNormalization(r, line)",
    "f = ConvTranspose<strides=[2,2], output_padding=[1,1]>(r, spread)",
    "f = DeformConv(r, kernel, bent)",
    "f = DeformConv(r, kernel, bent, six, weight)",
    "f = CenterCropPad<axes=[-2,-1]>(r, crop)",
    "f = RoiAlign<output_height=3, output_width=3>(r, boxes, of)",
    "f = MaxRoiPool<pooled_shape=[3,3]>(r, regions)",
    "f = GridSample(r, grid)",
    'f = Resize<mode="linear">(r, , double)',
    "f = GlobalLpPool(r)",
    "f = LpPool<kernel_shape=[2,2]>(r)",
    "f = ReduceProd<keepdims=1>(r, three)",
]
HOLD_ZEROS = [
    "s = ScatterND(t, ones, full) f = Transpose<perm=[2,3,0,1]>(s)",
    "i = ArgMax<axis=2>(r) f = Cast<to=1>(i)",
    "f = LpNormalization<axis=-1>(r)",
    "f = LayerNormalization(r, each, each)",
    "f = Softmax<axis=2>(r)",
    "f = Hardmax(r)",
    "f = ReduceLogSumExp(r, three)",
]
FREEZE = {  # and how many channels they make
    "f, i = TopK<axis=1>(r, four)": 4,
    "f = GatherElements<axis=1>(r, channels)": 6,
    "f = ScatterElements<axis=2>(r, few, updates)": 6,
    "f = ReverseSequence<time_axis=1, batch_axis=0>(r, lengths)": 6,
    "f = CumSum(r, one)": 6,
    "d = Cast<to=7>(m) e = Mod(d, d) g = ReduceMax<keepdims=0>(e) f = CumSum(r, g)": 6,
    "f = CenterCropPad(r, crop_all)": 6,
    'f = Resize<mode="nearest">(r, , hardly)': 6,
    'f = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(r, roi, , sizes)': 6,
    'f = Resize<mode="nearest", keep_aspect_ratio_policy="not_larger">(r, , , sizes)': 6,
    "f = GroupNormalization<num_groups=2>(r, gain, gain)": 6,
    "f = MeanVarianceNormalization<axes=[1,2,3]>(r)": 6,
    "f = LpNormalization<axis=1>(r)": 6,
    "f = LRN<size=3>(r)": 6,
    'f = Pad<mode="reflect">(r, around)': 8,
    'f = Einsum<equation="nihw,ii->nihw">(r, square)': 6,
    "i = ArgMax<axis=1>(r) f = Cast<to=1>(i)": 1,
    "f = DeformConv<offset_group=2>(r, kernel, bent_apart)": 6,
    "d = Det(r) e = Unsqueeze(d, last) f = Add(r, e)": 6,
}


@pytest.mark.parametrize("op", KEEP_CONSTANTS)
def test_zeros_and_constants_leave(op: str) -> None:
    assert left(network(op)) == 3


@pytest.mark.parametrize("op", KEEP_ZEROS)
def test_zeros_leave(op: str) -> None:
    assert left(network(op)) == 4


@pytest.mark.parametrize("op", HOLD_ZEROS)
def test_zeros_become_unknown(op: str) -> None:
    """So the next convolution needs them; but the channels stay apart."""
    assert left(network(op)) == 6
    assert offered(network(op)) == 6


@pytest.mark.parametrize(("op", "made"), FREEZE.items())
def test_frozen(op: str, made: int) -> None:
    assert left(network(op, made)) == 6
    assert offered(network(op, made)) == 0
