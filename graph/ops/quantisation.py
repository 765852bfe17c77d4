"""Quantised activations: every element alone, with a scale for all, per channel or per block of channels."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from graph.model.program import Program
from graph.model.quantised import scale_axes, zero_point
from graph.tracing.rules import signature_rule
from graph.tracing.signature import OPAQUE, Signature
from graph.values import Known, Values, carry, value_rule


@signature_rule("DequantizeLinear", "QuantizeLinear")
def linear(program: Program, node: NodeProto) -> Signature:
    """Elements stay apart; the axis that scales share in blocks stays as it is."""
    shape, scale = program.shapes[node.input[0]], program.shapes[node.input[1]]
    shared = {
        axis for axis, size in zip(scale_axes(program, node), scale, strict=True) if axis >= 0 and size != shape[axis]
    }
    letters = tuple(OPAQUE if axis in shared else f"a{axis}" for axis in range(len(shape)))

    def own(slot: int) -> tuple[str, ...]:
        return tuple(letters[axis] if axis >= 0 else OPAQUE for axis in scale_axes(program, node, slot))

    rest = (own(slot) if name else () for slot, name in enumerate(node.input) if slot)
    return Signature((letters, *rest), (letters,))


@value_rule("QuantizeLinear")
def _quantised(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """A zero becomes the zero point. What another constant is rounded to is up to the runtime."""
    known, point = carry(values, node, found, zero_only=True), zero_point(values.program, node)
    return Known(point, known.mask) if known is not None and point is not None else None


@value_rule("DequantizeLinear")
def _dequantised(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """The zero point becomes a zero."""
    known, point = values.of(node.input[0]), zero_point(values.program, node)
    scale = values.program.constants.get(node.input[1])
    if known is None or point is None or scale is None or not np.isfinite(scale).all():
        return None
    away = Known((known.value != point).astype(scale.dtype), known.mask).onto(found.operands[0], found.outputs[0])
    return Known(away.value, away.mask & (away.value == 0))
