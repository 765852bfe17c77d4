"""Tensors from sizes alone: a token or a state of zeros, as long as what it is added to."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, numpy_helper

from graph.model.program import Program, attributes
from graph.tracing.rules import signature_rule
from graph.tracing.signature import OPAQUE, Signature
from graph.values import Known, Values, value_rule


@signature_rule("ConstantOfShape")
def constant_of_shape(program: Program, node: NodeProto) -> Signature:
    """Channels along every axis that is as long for whatever is fed."""
    out = node.output[0]
    dynamic = program.dynamic.get(out, {})
    made = tuple(OPAQUE if axis in dynamic else f"a{axis}" for axis in range(len(program.shapes[out])))
    return Signature(((OPAQUE,),), (made,))


@value_rule("ConstantOfShape")
def _constant_of_shape(values: Values, node: NodeProto, found: Signature) -> Known:
    """One value everywhere: zero, if the node says no other."""
    given = attributes(node).get("value")
    value = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    shape = (1,) * len(found.outputs[0])
    return Known(value.reshape(shape), np.ones(shape, np.bool_))
