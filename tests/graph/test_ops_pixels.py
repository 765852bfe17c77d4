"""Channels that become pixels and pixels that become channels: a block of them is one channel on the other side."""

from __future__ import annotations

import numpy as np
import pytest
from models import Weights, build, ops, shrunk, widths

PAD = "pads=[1,1,1,1]"


def block(mode: str, channel: int, channels: int = 4, size: int = 2) -> list[int]:
    """The channels before DepthToSpace that make the pixels of one."""
    places = range(size * size)
    return [place * channels + channel if mode == "DCR" else channel * size * size + place for place in places]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("image", ["N,3,H,W", "2,3,6,6"])
def test_an_upsampler_loses_channels(mode: str, image: str) -> None:
    """Of four channels one is zero, one is constant, and of one no more than a pixel in four is zero."""
    w = Weights()
    dead, constant = block(mode, 1), block(mode, 2)
    zero = [*dead, *constant, block(mode, 3)[0]]
    bias = w(16, zero=tuple(zero))
    bias[constant] = 0.5
    model = build(
        f'(float[{image}] x) => (y) {{ a = Conv<{PAD}>(x, w1, b1) d = DepthToSpace<blocksize=2, mode="{mode}">(a)'
        " r = Relu(d) y = Conv(r, w2, b2) }",
        w1=w(16, 3, 3, 3, zero=tuple(zero)), b1=bias, w2=w(2, 4, 3, 3), b2=w(2),
    )  # fmt: skip
    slim, _ = shrunk(model)
    found = widths(slim)
    assert (found["w1"], found["w2"]) == ((8, 3, 3, 3), (2, 2, 3, 3))
    assert ops(slim) == ops(model)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_an_unread_channel(mode: str) -> None:
    w = Weights()
    model = build(
        f'(float[N,3,H,W] x) => (y) {{ a = Conv<{PAD}>(x, w1, b1) d = DepthToSpace<blocksize=3, mode="{mode}">(a)'
        f" y = Conv<{PAD}>(d, w2) }}",
        w1=w(18, 3, 3, 3), b1=w(18), w2=w(2, 2, 3, 3, zero=(0,), axis=1),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (9, 3, 3, 3)


def test_a_focus_stem_loses_channels() -> None:
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (y) {{ a = Conv<{PAD}>(x, w1) s = SpaceToDepth<blocksize=2>(a)"
        f" y = Conv<{PAD}>(s, w2) }}",
        w1=w(4, 3, 3, 3, zero=(1,)), w2=w(2, 16, 3, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0]) == {"w1": (3, 3, 3, 3), "w2": (2, 12, 3, 3)}


def test_there_and_back() -> None:
    """Every channel is its own again."""
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (y) {{ a = Conv<{PAD}>(x, w1) d = DepthToSpace<blocksize=2>(a)"
        f" s = SpaceToDepth<blocksize=2>(d) y = Conv<{PAD}>(s, w2) }}",
        w1=w(8, 3, 3, 3, zero=(1, 3, 5, 7)), w2=w(2, 8, 3, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0]) == {"w1": (4, 3, 3, 3), "w2": (2, 4, 3, 3)}


def test_a_part_of_a_block_stays() -> None:
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (y) {{ a = Conv<{PAD}>(x, w1) d = DepthToSpace<blocksize=2>(a)"
        f" y = Conv<{PAD}>(d, w2) }}",
        w1=np.asarray(w(8, 3, 3, 3, zero=(1, 3, 5))), w2=w(2, 2, 3, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (8, 3, 3, 3)
