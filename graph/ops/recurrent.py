"""Recurrent layers: a sum over the features of their input; what is inside them stays."""

from __future__ import annotations

from onnx import NodeProto

from graph.model.program import Program
from graph.tracing.rules import signature_rule
from graph.tracing.signature import OPAQUE, Signature


@signature_rule("GRU", "LSTM", "RNN")
def recurrent(program: Program, node: NodeProto) -> Signature:
    """``X [steps, batch, i], W [directions, gates * hidden, i]``: everything else is tied to the hidden state."""
    ranks = [len(program.shapes[name]) if name else 0 for name in node.input]
    features = (OPAQUE, OPAQUE, "i")
    others = tuple((OPAQUE,) * rank for rank in ranks[2:])
    return Signature((features, features, *others), tuple((OPAQUE,) * len(program.shapes[n]) for n in node.output if n))
