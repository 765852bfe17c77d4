"""The page on operators says what the tables say."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import defs

from graph.ops.table import APART, channels, table
from graph.tracing.rules import ELEMENTWISE, MOVEMENT, SIGNATURES
from graph.values import RULES

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_page_is_what_the_tables_say() -> None:
    if f"(version {defs.onnx_opset_version()})" not in PAGE.read_text():
        pytest.skip("written with another version of onnx")
    assert PAGE.read_text() == table(), "python -m graph.ops.table > docs/operators.md"


def test_every_operator_is_in_one_table() -> None:
    tables = [ELEMENTWISE, MOVEMENT - {"Gather"}, set(SIGNATURES), set(APART)]
    every = [op for each in tables for op in each]
    assert len(every) == len(set(every))


def test_every_operator_has_a_line() -> None:
    known = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}
    assert all(channels(op) for op in known)
    assert known >= ELEMENTWISE | MOVEMENT | set(RULES)
