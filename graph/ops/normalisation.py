"""Normalisations and softmax: which axes they mix."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from graph.model.program import Program, attributes, key
from graph.tracing.rules import SIGNATURES, along, signature_rule, single
from graph.tracing.signature import Signature
from graph.values import Known, Values, carry, value_rule

SIGNATURES["InstanceNormalization"] = "n c ..., c, c -> n c ..."


@signature_rule("BatchNormalization")
def batch_norm(program: Program, node: NodeProto) -> str | None:
    """As in inference, with stored statistics. Before opset 9 pixels could be apart."""
    attribute = attributes(node)
    trains = attribute.get("training_mode", 0) or (program.opset < 7 and not attribute.get("is_test", 0))
    per_channel = single(node) and not trains and attribute.get("spatial", 1)
    return "n c ..., c, c, c, c -> n c ..." if per_channel else None


@signature_rule("LayerNormalization", "RMSNormalization")
def layer_norm(program: Program, node: NodeProto) -> Signature | None:
    """Normalises over all axes from ``axis`` on; scale and bias may differ along the others, too."""
    if not single(node):
        return None
    rank = len(program.shapes[node.input[0]])
    found = along(program, node, set(range(attributes(node).get("axis", -1) % rank, rank)))
    letters = found.outputs[0]
    rest = (letters[rank - len(program.shapes[name]) :] if name else () for name in node.input[1:])
    return Signature((letters, *rest), found.outputs)


@signature_rule("GroupNormalization")
def group_norm(program: Program, node: NodeProto) -> Signature:
    """Normalises over positions and groups of channels."""
    return along(program, node, set(range(1, len(program.shapes[node.input[0]]))))


@signature_rule("LpNormalization", "LRN", "MeanVarianceNormalization")
def norm(program: Program, node: NodeProto) -> Signature:
    """Mixes the axes that it normalises over: ``axis`` or ``axes``, or the channels."""
    rank = len(program.shapes[node.input[0]])
    attribute = attributes(node)
    default = {"LpNormalization": [-1], "LRN": [1], "MeanVarianceNormalization": [0, 2, 3]}[key(node)]
    axes = [attribute["axis"]] if "axis" in attribute else attribute.get("axes", default)
    return along(program, node, {axis % rank for axis in axes})


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


@value_rule("InstanceNormalization")
def _instance_norm(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """With a zero scale, and where the input is zero, the shift is left.

    So it is for another constant, too, but there runtimes multiply the rounding error of its mean by 300.
    """
    constants = values.program.constants
    if any(name not in constants for name in node.input[1:]):
        return None
    scale, shift = (constants[name] for name in node.input[1:])
    mask, value = values.along(node.input[0], 1)
    sure = ((mask & (value == 0)) | (scale == 0)) & np.isfinite(scale) & np.isfinite(shift)
    shape = [-1 if letter == "c" else 1 for letter in found.outputs[0]]
    return Known(shift.reshape(shape), sure.reshape(shape))


@value_rule("LayerNormalization", "RMSNormalization")
def _layer_norm(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Of zeros the shift is left."""
    constants, rank = values.program.constants, len(found.outputs[0])
    known = carry(values, node, found, zero_only=True)
    if known is None or any(name not in constants or not values.finite(name) for name in node.input[1:] if name):
        return None
    shift = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(1, known.value.dtype)
    return Known(shift.reshape((1,) * (rank - shift.ndim) + shift.shape), known.mask)


@value_rule("LRN")
def _norm(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Zeros among zeros."""
    return carry(values, node, found, zero_only=True)
