"""What becomes of channels at every operator, in Markdown: ``python -m graph.ops.table > docs/operators.md``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from onnx import defs

from graph.tracing.rules import ELEMENTWISE, MOVEMENT, SIGNATURES
from graph.values import RULES

HEAD = """\
# Operators

What the channel compiler knows of every operator of ONNX's default domain (version {version}). This page is written by
`python -m graph.ops.table`, from the tables that the compiler itself uses.

**Channels** says what an operator does to them:

- *element-wise*: every element of the output depends on the elements at its place, under broadcasting;
- *moved*: elements only move, so the operator is executed on channel numbers;
- a line of einsum's notation, or a sentence, is a rule: the same letter is the same channel, a letter that the output
  lacks is summed over, and along `.` and `...` nothing may leave;
- *freezes*: nothing may leave the tensors that it touches. So it is where a rule does not fit the node (other
  attributes, inputs that are computed), and for operators of other domains without a rule of their own.

**Values** says what is known of the output without knowing the input, where zeros and other constants go in: *computed*
from what is known, or what the rule says; nothing otherwise.

| operator | channels | values |
|---|---|---|
"""

#: What the compiler treats apart.
APART = {
    "Constant": ("stored", "computed"),
    "If": ("its branches are compiled as graphs of their own; what they read and return freezes", ""),
    "Loop": ("its body is compiled as a graph of its own; what it reads and returns freezes", ""),
    "Scan": ("its body is compiled as a graph of its own; what it reads and returns freezes", ""),
    "Shape": ("freezes the axes whose size is used", "computed"),
}


def table() -> str:
    """The page."""
    schemas = (schema for schema in defs.get_all_schemas() if schema.domain == "")
    rows = (f"| {name} | {channels(name)} | {values(name)} |" for name in sorted({schema.name for schema in schemas}))
    return HEAD.format(version=defs.onnx_opset_version()) + "\n".join(rows) + "\n"


def channels(op: str) -> str:
    """What ``op`` does to channels."""
    if op in APART:
        return APART[op][0]
    if op in ELEMENTWISE:
        return "element-wise"
    rule = SIGNATURES.get(op)
    if op in MOVEMENT:
        return "moved" if rule is None else f"moved. {_said(rule)}"
    return "freezes" if rule is None else _said(rule)


def values(op: str) -> str:
    """What is known of the output of ``op``."""
    if op in APART:
        return APART[op][1]
    if op in ELEMENTWISE or op in MOVEMENT:
        return "computed"
    return _said(RULES[op]) if op in RULES else ""


def _said(rule: str | Callable[..., Any]) -> str:
    """A rule in one line: its text, or the first line that its function says of itself."""
    if isinstance(rule, str):
        return f"`{rule}`"
    line = (inspect.getdoc(rule) or "").partition("\n")[0]
    return line.removesuffix(".").replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    print(table(), end="")
