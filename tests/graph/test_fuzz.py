"""Whatever network, whatever zeros: the shrunk model computes the same, and there is nothing left to shrink.

The suite runs the same 300 networks each time. To look for new failures:

    FUZZ_EXAMPLES=20000 python -m pytest tests/graph/test_fuzz.py
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import odd_blocks  # noqa: F401  files its blocks
import rare_blocks  # noqa: F401  files its blocks, and those of token_blocks
from blocks import BLOCKS
from disguises import DISGUISES, Disguise, older
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from models import assert_same, runs, shrunk, weights
from networks import network
from onnx import ModelProto

import graph
from graph.choosing.adapters import Select
from graph.model.reader import read

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))


def sketch(model: ModelProto) -> str:
    """The nodes, and what the weights look like: small ones in full, of others the shape."""
    lines = [f"{', '.join(node.output)} = {node.op_type}({', '.join(node.input)})" for node in model.graph.node]
    stored = weights(read(model))
    return "\n".join([*lines, *(f"{n}: {v.tolist() if v.size < 9 else v.shape}" for n, v in stored.items())])


def effort(examples: int) -> settings:
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


SEEDS = st.integers(0, 2**16)
CHAINS = st.lists(st.tuples(st.sampled_from(BLOCKS), SEEDS), min_size=1, max_size=8)


@effort(300)
@given(SEEDS, CHAINS)
def test_shrink_is_exact_and_final(seed: int, blocks: list[tuple[Any, int]]) -> None:
    model = network(seed, blocks)
    assume(runs(model))
    note(sketch(model))
    slim, certificate = shrunk(model)
    left = [certificate.input.parameters, certificate.output.parameters]
    while left[-1] < left[-2]:
        slim, certificate = shrunk(slim)
        left.append(certificate.output.parameters)
    assert left == sorted(left, reverse=True)
    assert len(left) <= (3 if is_plain(graph.analyse(model)) else 6), left


@effort(60)
@given(SEEDS, CHAINS, st.sampled_from(["auto", "never", "always"]), st.sampled_from([1, 3, 8]))
def test_options_are_exact(seed: int, blocks: list[tuple[Any, int]], select: Select, align: int) -> None:
    model = network(seed, blocks)
    assume(runs(model))
    note(sketch(model))
    slim, certificate = graph.shrink(model, align=align, select=select)
    assert_same(model, slim)
    without = graph.shrink(model, select="never")[1].output.parameters
    assert align > 1 or certificate.output.parameters <= without


@effort(80)
@given(SEEDS, CHAINS, st.sampled_from(DISGUISES), SEEDS)
def test_shrink_sees_through_disguises(seed: int, blocks: list[tuple[Any, int]], disguise: Disguise, own: int) -> None:
    model = network(seed, blocks)
    other = ModelProto()
    other.CopyFrom(model)
    disguise(other, np.random.default_rng(own))
    assume(runs(model) and runs(other))
    note(sketch(other))
    plain, found = graph.shrink(model)[1].output, shrunk(other)[1].output
    assert found.parameters <= plain.parameters or disguise is older


def is_plain(analysis: graph.Analysis) -> bool:
    """Whether one pass must find everything.

    Two things let a second one find more: what is left of a grid of channels (heads times dimensions) may be known
    although the whole was not, and whether an adapter at a fork or join pays depends on what else goes. And where
    everything is dead, it is arbitrary which channel stays.
    """
    trace, causes = analysis.trace, analysis.removable().causes
    grids = any(len(trace.varying(site)) > 1 for site in trace.ids)
    return not (grids or trace.edges or any(cause.reason == "last" for cause in causes))
