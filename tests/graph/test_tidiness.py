"""A second opinion on what is dead: onnx-graphsurgeon finds nothing to clean up in a shrunk model."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from blocks import BLOCKS
from models import shrunk
from networks import network
from onnx_graphsurgeon.logger import G_LOGGER

G_LOGGER.severity = G_LOGGER.ERROR


@pytest.mark.parametrize("seed", range(20))
def test_nothing_dead_is_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picked = [(BLOCKS[place], int(rng.integers(1 << 16))) for place in rng.integers(len(BLOCKS), size=4)]
    slim, _ = shrunk(network(seed, picked))
    graph = gs.import_onnx(slim)
    before = [node.name for node in graph.nodes], set(graph.tensors())
    graph.cleanup()
    assert ([node.name for node in graph.nodes], set(graph.tensors())) == before
