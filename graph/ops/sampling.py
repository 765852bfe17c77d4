"""Resizing and sampling: positions are computed, channels stay apart."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from graph.model.program import Program, attributes, key
from graph.rewriting.patches import Context, Patch, patch
from graph.tracing.rules import SIGNATURES, along, signature_rule
from graph.tracing.signature import Signature
from graph.values import Known, Values, carry, value_rule

SIGNATURES["GridSample"] = ". c ..., ... -> . c ..."
SIGNATURES["MaxRoiPool"] = ". c . ., . . -> . c . ."
SIGNATURES["RoiAlign"] = ". c . ., . ., . -> . c . ."


@signature_rule("Resize", "Upsample")
def resize(program: Program, node: NodeProto) -> Signature | None:
    """Mixes the axes that it scales, or crops."""
    before, after = program.shapes[node.input[0]], program.shapes[node.output[0]]
    attribute = attributes(node)
    axes = [axis % len(before) for axis in attribute.get("axes", range(len(before)))]
    blocked = {axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    if attribute.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        blocked |= set(axes)
    if attribute.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        blocked |= set(axes)  # a common scale, that need not change a small size
    slot = 2 if key(node) == "Resize" and program.opset >= 11 else 1
    if "scales" in attribute:  # Upsample before opset 9
        scales = np.array(attribute["scales"])
    elif len(node.input) > slot and node.input[slot]:
        known = program.known(node.input[slot])
        if known is None:
            return None
        scales = known
    elif len(node.input) > 3:
        scales = np.zeros(0)  # it has sizes
    else:
        return None
    blocked |= {axis for axis, scale in zip(axes, scales.ravel(), strict=False) if scale != 1}
    return along(program, node, blocked)


@signature_rule("DeformConv")
def deform_conv(program: Program, node: NodeProto) -> str | None:
    """A dense convolution whose offsets are the same for all channels."""
    attribute = attributes(node)
    alike = attribute.get("group", 1) == attribute.get("offset_group", 1) == 1
    return ". i ..., o i ..., ..., o, ... -> . o ..." if alike else None


@value_rule("Resize", "Upsample")
def _resize(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Repeating keeps a constant, interpolation keeps it up to rounding; outside its input it has another value."""
    attribute = attributes(node)
    if attribute.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        return None
    return carry(values, node, found, zero_only=attribute.get("mode", b"nearest") != b"nearest")


@value_rule("GridSample", "MaxRoiPool", "RoiAlign")
def _sampled(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """There are zeros outside."""
    return carry(values, node, found, zero_only=True)


@patch("Resize")
def _resize_patch(context: Context) -> Patch:
    sizes = context.constant(3)
    if sizes is None or not sizes.size:
        return Patch()
    axes = attributes(context.node).get("axes", range(sizes.size))
    rank = len(context.out_shape)
    gone = [context.out_shape[axis % rank] - int(context.kept_out(0, axis % rank).sum()) for axis in axes]
    return Patch(inputs={3: sizes - np.array(gone, sizes.dtype)})
