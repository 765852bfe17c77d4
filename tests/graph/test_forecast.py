"""A forecast counts what `shrink` then leaves."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import odd_blocks  # noqa: F401  files its blocks
import pytest
import rare_blocks  # noqa: F401  files its blocks, and those of token_blocks
from blocks import BLOCKS
from models import Weights, build
from networks import network

import graph
from graph.candidates.classes import classes
from graph.candidates.forecast import Forecast

PAD = "pads=[1,1,1,1]"


def test_where_nothing_else_follows_it_is_exact() -> None:
    w = Weights()
    model = build(
        f"(float[N,3,8,8] x) => (y) {{ a = Conv<{PAD}>(x, w1, b1) b = Relu(a) c = Conv<{PAD}, group=16>(b, w2, b2) "
        f"d = Relu(c) e = Conv<{PAD}>(d, w3) f = Add(e, d) g = GlobalAveragePool(f) h = Flatten(g) "
        "y = MatMul(h, w4) }",
        w1=w(16, 3, 3, 3), b1=w(16), w2=w(16, 1, 3, 3), b2=w(16), w3=w(16, 16, 3, 3), w4=w(16, 5),
    )  # fmt: skip
    found = classes(graph.analyse(model))
    forecast = Forecast(found)
    for count in (0, 1, 7, 15):
        chosen = np.arange(len(found)) < count
        size = graph.shrink(found.zeroed(chosen))[1].output
        expected = forecast.without(chosen)
        assert (expected.parameters, expected.macs) == (size.parameters, size.macs)


@pytest.mark.parametrize("seed", range(30))
def test_more_classes_never_leave_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picked = [(BLOCKS[place], int(rng.integers(1 << 16))) for place in rng.integers(len(BLOCKS), size=4)]
    found = classes(graph.analyse(network(seed, picked)))
    forecast = Forecast(found)
    sizes = [forecast.without(np.arange(len(found)) < count) for count in range(len(found) + 1)]
    assert sizes[0] == forecast.full
    for bigger, smaller in pairwise(sizes):
        assert bigger.parameters >= smaller.parameters >= 0
        assert bigger.macs >= smaller.macs >= 0
