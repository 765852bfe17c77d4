"""Normalisations and softmax: which axes they mix."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from graph.program import Program, attributes
from graph.rules import SIGNATURES, along, signature_rule, single
from graph.signature import Signature
from graph.values import Known, Values, value_rule

SIGNATURES["InstanceNormalization"] = "n c ..., c, c -> n c ..."


@signature_rule("BatchNormalization")
def batch_norm(program: Program, node: NodeProto) -> str | None:
    """As in inference: in training there are outputs for the statistics. Before opset 9 pixels could be apart."""
    per_channel = single(node) and attributes(node).get("spatial", 1)
    return "n c ..., c, c, c, c -> n c ..." if per_channel else None


@signature_rule("LayerNormalization", "RMSNormalization")
def layer_norm(program: Program, node: NodeProto) -> Signature | None:
    """Normalises over all axes from ``axis`` on."""
    if not single(node):
        return None
    rank = len(program.shapes[node.input[0]])
    return along(program, node, set(range(attributes(node).get("axis", -1) % rank, rank)))


@signature_rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(program: Program, node: NodeProto) -> Signature:
    """Mixes one axis (all the last ones before opset 13)."""
    rank = len(program.shapes[node.input[0]])
    axis = attributes(node).get("axis", -1 if program.opset >= 13 else 1) % rank
    return along(program, node, {axis} if program.opset >= 13 else set(range(axis, rank)))


@value_rule("BatchNormalization")
def _batch_norm(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """``scale (x - mean) / sqrt(var + epsilon) + shift``: with a zero scale the shift, whatever x is."""
    constants = values.program.constants
    if any(name not in constants for name in node.input[1:]):
        return None
    scale, shift, mean, var = (constants[name].astype(np.float64) for name in node.input[1:5])
    mask, value = values.along(node.input[0], 1)
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + attributes(node).get("epsilon", 1e-5))
        total = factor * (value - mean) + shift
    sure = (mask | (factor == 0)) & np.isfinite(total)
    shape = [-1 if letter == "c" else 1 for letter in found.outputs[0]]
    return Known(total.astype(constants[node.input[1]].dtype).reshape(shape), sure.reshape(shape))
