"""Conversions of type that are not plain element-wise ops."""

from __future__ import annotations

from onnx import NodeProto

from graph.model.program import Program
from graph.tracing.rules import along, signature_rule
from graph.tracing.signature import Signature
from graph.values import Known, Values, carry, value_rule


@signature_rule("BitCast", "CastLike")
def cast(program: Program, node: NodeProto) -> Signature:
    """Every element alone; of a second input only the type counts."""
    return along(program, node, set())


@value_rule("CastLike")
def _cast(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """A zero is one in every type. Its bits are not: it may be a negative one."""
    return carry(values, node, found, zero_only=True)
