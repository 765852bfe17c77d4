"""Dead channels come back in whole blocks: everywhere at once, and where that costs least."""

from __future__ import annotations

import numpy as np
import odd_blocks  # noqa: F401  files its blocks
import pytest
import rare_blocks  # noqa: F401  files its blocks, and those of token_blocks
from blocks import BLOCKS
from models import Weights, assert_same, build, ops, widths
from networks import network
from onnx import ModelProto

import graph

PAD = "pads=[1,1,1,1]"


def residual(dead: tuple[int, ...], inner: tuple[int, ...]) -> ModelProto:
    """A stream of 32 channels with two blocks that are 32 wide inside."""
    w = Weights()
    weights = {"w0": w(32, 3, 3, 3, zero=dead), "head": w(4, 32, 1, 1)}
    for block in ("a", "b"):
        weights |= {f"{block}1": w(32, 32, 3, 3, zero=inner), f"{block}2": w(32, 32, 3, 3, zero=dead)}
    text = (
        f"(float[N,3,8,8] x) => (y) {{ s = Conv<{PAD}>(x, w0) "
        f"p = Conv<{PAD}>(s, a1) q = Relu(p) r = Conv<{PAD}>(q, a2) t = Add(r, s) u = Relu(t) "
        f"e = Conv<{PAD}>(u, b1) f = Relu(e) g = Conv<{PAD}>(f, b2) h = Add(g, u) y = Conv(h, head) }}"
    )
    return build(text, **weights)


def test_a_residual_stream_is_filled_up_in_all_its_tensors() -> None:
    model = residual(dead=(*range(0, 32, 2), 1, 3, 5), inner=tuple(range(11)))
    slim, certificate = graph.shrink(model, align=8)
    assert_same(model, slim)
    found = widths(slim)
    assert found["w0"] == (16, 3, 3, 3) and found["head"] == (4, 16, 1, 1)
    for block in ("a", "b"):
        assert found[f"{block}1"] == (24, 16, 3, 3) and found[f"{block}2"] == (16, 24, 3, 3)
    assert not {"Gather", "Pad"} & set(ops(slim))
    assert {(entry.reason, entry.op) for entry in certificate.kept_zero} == {("align", "multiple of 8")}


def test_a_branch_that_is_dead_stays_dead() -> None:
    model = residual(dead=(0, 1, 2), inner=tuple(range(32)))
    slim, _ = graph.shrink(model, align=16)
    assert_same(model, slim)
    assert ops(slim) == ["Conv", "Relu", "Conv"]
    assert widths(slim)["w0"] == (32, 3, 3, 3)


def test_the_channels_that_cost_least_come_back() -> None:
    """One of five must: a large convolution reads the first three of them, too."""
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (float[a,b,c,d] y, float[a,b,c,d] z) {{ a = Conv<{PAD}>(x, w1) "
        f"b = Slice(a, zero, six, one) y = Conv<{PAD}>(b, w2) z = Conv(a, w3) }}",
        w1=w(12, 3, 3, 3, zero=(0, 1, 2, 6, 7)), w2=w(64, 6, 3, 3), w3=w(2, 12, 1, 1),
        zero=np.array([0]), six=np.array([6]), one=np.array([1]),
    )  # fmt: skip
    slim, _ = graph.shrink(model, align=8)
    assert_same(model, slim)
    assert widths(slim)["w1"] == (8, 3, 3, 3)
    assert widths(slim)["w2"] == (64, 3, 3, 3)


@pytest.mark.parametrize(("multiple", "width"), [(1, 21), (4, 24), (16, 32), (64, 21)])
def test_a_tensor_that_was_never_wide_enough_stays(multiple: int, width: int) -> None:
    slim, _ = graph.shrink(residual(dead=(), inner=tuple(range(11))), align=multiple)
    assert widths(slim)["a1"] == (width, 32, 3, 3)


@pytest.mark.parametrize("seed", range(40))
def test_any_network_stays_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picked = [(BLOCKS[place], int(rng.integers(1 << 16))) for place in rng.integers(len(BLOCKS), size=5)]
    model = network(seed, picked)
    tight, full = (graph.shrink(model, align=multiple) for multiple in (1, 4))
    assert_same(model, full[0])
    assert full[1].output.parameters >= tight[1].output.parameters
