"""Pooling, reductions and resizing: positions are mixed, channels stay apart."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from graph.ops.contraction import padded
from graph.patches import Context, Patch, patch
from graph.program import Program, attributes, key
from graph.rules import SIGNATURES, along, signature_rule, single
from graph.signature import OPAQUE, Signature
from graph.values import Known, Values, value_rule

REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]

SIGNATURES.update(
    dict.fromkeys(["AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool"], "n c ... -> n c ...")
)


@signature_rule("MaxPool")
def max_pool(program: Program, node: NodeProto) -> str | None:
    """Without the places of the maxima: they count the elements of all channels."""
    return "n c ... -> n c ..." if single(node) else None


@signature_rule("Resize", "Upsample")
def resize(program: Program, node: NodeProto) -> Signature:
    """Mixes the axes whose size changes; ``tf_crop_and_resize`` may change an axis and keep its size."""
    before, after = program.shapes[node.input[0]], program.shapes[node.output[0]]
    crops = attributes(node).get("coordinate_transformation_mode", b"") == b"tf_crop_and_resize"
    blocked = {axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new or crops}
    return along(program, node, blocked)


@signature_rule(*(f"Reduce{name}" for name in REDUCTIONS))
def reduce(program: Program, node: NodeProto) -> Signature | None:
    """Mixes the reduced axes; the others stay what they are."""
    before, after = program.shapes[node.input[0]], program.shapes[node.output[0]]
    attribute = attributes(node)
    axes = attribute.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        known = program.constants.get(node.input[1])
        if known is None:
            return None
        axes = [int(axis) for axis in known.ravel()]
    if not axes:
        axes = [] if attribute.get("noop_with_empty_axes") else list(range(len(before)))
    reduced = {axis % len(before) for axis in axes}
    into = tuple(OPAQUE if axis in reduced else f"a{axis}" for axis in range(len(before)))
    out = into if attribute.get("keepdims", 1) else tuple(letter for letter in into if letter != OPAQUE)
    if len(out) != len(after):
        return None
    rest = tuple(tuple([OPAQUE] * len(program.shapes.get(name, ()))) for name in node.input[1:])
    return Signature((into, *rest), (out,))


@value_rule("MaxPool", "GlobalMaxPool", "GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceMax", "ReduceMin")
def _average(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Whatever averages or selects keeps a constant; only padding that counts as zeros spoils it."""
    attribute = attributes(node)
    outside = padded(node) or attribute.get("ceil_mode", 0)
    spoiled = key(node) == "AveragePool" and attribute.get("count_include_pad", 0) and outside
    return carry(values, node, found, zero_only=bool(spoiled))


@value_rule("Resize", "Upsample")
def _resize(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Repeating keeps a constant, interpolation keeps it up to rounding; outside its input it has another value."""
    attribute = attributes(node)
    if attribute.get("coordinate_transformation_mode", b"") == b"tf_crop_and_resize":
        return None
    return carry(values, node, found, zero_only=attribute.get("mode", b"nearest") != b"nearest")


@value_rule("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "GlobalLpPool", "LpPool")
def _zero_keeping(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Sums keep zeros."""
    return carry(values, node, found, zero_only=True)


def carry(values: Values, node: NodeProto, found: Signature, zero_only: bool) -> Known | None:
    """What is known of the first input, over the axes that are mixed; `zero_only` if they are summed."""
    known = values.of(node.input[0])
    if known is None:
        return None
    mixed = tuple(axis for axis, letter in enumerate(found.operands[0]) if letter == OPAQUE)
    known = known.over(mixed)
    value, mask = known.value, known.mask & (known.value == 0) if zero_only else known.mask
    if len(found.outputs[0]) != value.ndim:  # the reduced axes are gone
        value, mask = value.squeeze(mixed), mask.squeeze(mixed)
    return Known(value, mask)


@patch("Resize")
def _resize_patch(context: Context) -> Patch:
    sizes = context.constant(3)
    if sizes is None or not sizes.size or attributes(context.node).get("axes"):
        return Patch()
    gone = [context.out_shape[axis] - int(context.kept_out(0, axis).sum()) for axis in range(len(sizes))]
    return Patch(inputs={3: sizes - np.array(gone, sizes.dtype)})
