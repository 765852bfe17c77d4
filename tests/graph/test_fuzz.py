"""Whatever network, whatever zeros: the shrunk model computes the same, and there is nothing left to shrink.

The suite runs the same 150 networks each time. To look for new failures:

    FUZZ_EXAMPLES=20000 python -m pytest tests/graph/test_fuzz.py
"""

from __future__ import annotations

import os

import token_blocks  # noqa: F401  files its blocks
from blocks import BLOCKS
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from models import assert_same, shrunk, weights
from networks import network
from onnx import ModelProto

import graph
from graph.program import read

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))


def sketch(model: ModelProto) -> str:
    """The nodes, and what the weights look like: small ones in full, of others the shape."""
    lines = [f"{node.output[0]} = {node.op_type}({', '.join(node.input)})" for node in model.graph.node]
    stored = weights(read(model))
    return "\n".join([*lines, *(f"{n}: {v.tolist() if v.size < 9 else v.shape}" for n, v in stored.items())])


@settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    deadline=None,
    report_multiple_bugs=False,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
@given(
    st.integers(0, 2**16), st.lists(st.tuples(st.sampled_from(BLOCKS), st.integers(0, 2**16)), min_size=1, max_size=8)
)
def test_shrink_is_exact_and_final(seed: int, blocks: list[tuple[object, int]]) -> None:
    model = network(seed, blocks)  # type: ignore[arg-type]
    note(sketch(model))
    slim, certificate = shrunk(model)
    assert certificate.output.parameters <= certificate.input.parameters
    again, second = graph.shrink(slim)
    assert_same(slim, again)
    assert second.output.parameters == certificate.output.parameters, second.removed
