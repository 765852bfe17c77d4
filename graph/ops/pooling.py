"""Pooling and reductions: positions are mixed, channels stay apart."""

from __future__ import annotations

from onnx import NodeProto

from graph.model.program import Program, attributes, key
from graph.ops.contraction import padded
from graph.tracing.rules import SIGNATURES, along, signature_rule, single
from graph.tracing.signature import OPAQUE, Signature
from graph.values import Known, Values, carry, value_rule

REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]

SIGNATURES.update(
    dict.fromkeys(["AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool"], "n c ... -> n c ...")
)


@signature_rule("MaxPool")
def max_pool(program: Program, node: NodeProto) -> str | None:
    """Without the places of the maxima: they count the elements of all channels."""
    return "n c ... -> n c ..." if single(node) else None


@signature_rule(*(f"Reduce{name}" for name in REDUCTIONS))
def reduce(program: Program, node: NodeProto) -> Signature | None:
    """Mixes the reduced axes; the others stay what they are."""
    rank = len(program.shapes[node.input[0]])
    attribute = attributes(node)
    axes = attribute.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        known = program.constants.get(node.input[1])
        if known is None:
            return None
        axes = [int(axis) for axis in known.ravel()]
    if not axes:
        axes = [] if attribute.get("noop_with_empty_axes") else list(range(rank))
    return _without(program, node, {axis % rank for axis in axes})


@signature_rule("ArgMax", "ArgMin")
def place(program: Program, node: NodeProto) -> Signature:
    """Mixes one axis (the first by default)."""
    rank = len(program.shapes[node.input[0]])
    return _without(program, node, {attributes(node).get("axis", 0) % rank})


@signature_rule("CumProd", "CumSum")
def accumulate(program: Program, node: NodeProto) -> Signature | None:
    """Mixes the axis that it sums or multiplies along, which must be known."""
    axis = program.constants.get(node.input[1])
    rank = len(program.shapes[node.input[0]])
    return None if axis is None else along(program, node, {int(axis.ravel()[0]) % rank})


def _without(program: Program, node: NodeProto, reduced: set[int]) -> Signature:
    """Signature of an op that sums up the ``reduced`` axes, which have size 1 in its output, or are no more."""
    into, *rest = along(program, node, reduced).operands
    out = into if attributes(node).get("keepdims", 1) else tuple(letter for letter in into if letter != OPAQUE)
    return Signature((into, *rest), (out,))


@value_rule("MaxPool", "GlobalMaxPool", "GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceMax", "ReduceMin")
def _average(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Whatever averages or selects keeps a constant; only padding that counts as zeros spoils it."""
    attribute = attributes(node)
    outside = padded(node) or attribute.get("ceil_mode", 0)
    spoiled = key(node) == "AveragePool" and attribute.get("count_include_pad", 0) and outside
    return carry(values, node, found, zero_only=bool(spoiled))


@value_rule("CumSum", "GlobalLpPool", "LpPool", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceSum", "ReduceSumSquare")
def _zero_keeping(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Sums and products keep zeros."""
    return carry(values, node, found, zero_only=True)
