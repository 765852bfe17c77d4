"""Attention of the default domain: heads, dimensions of queries and keys, and dimensions of values may leave."""

from __future__ import annotations

from onnx import NodeProto

from graph.model.program import Program, attributes
from graph.rewriting.patches import Context, Patch, patch
from graph.tracing.rules import along, signature_rule, single
from graph.tracing.signature import OPAQUE, Signature
from graph.values import Known, Values, carry, value_rule

MASK = 3  # its slot


@signature_rule("Attention")
def attention(program: Program, node: NodeProto) -> Signature | None:
    """``q [b, h, s, d], k [b, h, t, d], v [b, h, t, e] -> [b, h, s, e]``, without a cache of keys and values.

    Heads stay where a head of keys serves several of queries.
    """
    shapes = [program.shapes[name] if name else () for name in node.input]
    if not single(node) or any(node.input[MASK + 1 : MASK + 3]) or len(shapes[0]) != 4:
        return None
    head = "h" if shapes[0][1] == shapes[1][1] else OPAQUE
    score, value = (OPAQUE, head, OPAQUE, "d"), (OPAQUE, head, OPAQUE, "e")
    masks = ((OPAQUE, head, OPAQUE, OPAQUE)[4 - len(shape) :] for shape in shapes[MASK : MASK + 1])  # they broadcast
    rest = ((OPAQUE,) * len(shape) for shape in shapes[MASK + 1 :])
    return Signature((score, score, value, *masks, *rest), (value,))


@signature_rule("RotaryEmbedding")
def rotary_embedding(program: Program, node: NodeProto) -> Signature:
    """Turns pairs of dimensions by angles that depend on sample and position; heads are free if they have an axis."""
    rank = len(program.shapes[node.input[0]])
    return along(program, node, {0, rank - 2, rank - 1})


@value_rule("Attention")
def _attention(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Zero where the values are; of another constant it is not the mean where a whole row is masked."""
    return carry(values, node, found, zero_only=True, slots=(2,))


@value_rule("RotaryEmbedding")
def _rotated(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Zeros among zeros."""
    return carry(values, node, found, zero_only=True)


@patch("Attention")
def _scale(context: Context) -> Patch:
    """The scale depends on the size of a head unless the node says it."""
    if "scale" in attributes(context.node) or context.kept(0, 3).all():
        return Patch()
    return Patch(attributes={"scale": context.shape[3] ** -0.5})
