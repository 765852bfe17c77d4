"""Teach the compiler an operator of one's own. Without a rule it freezes what it touches.

The operator is `com.example.SoftCap(x) = 30 tanh(x / 30)`, which treats every element alone. It gets two entries:
what it does to channels, in the notation of einsum ("axis 1 of the output is the same channels as axis 1 of the
input, nothing may leave along the other axes"), and what is known of its output where its input is known.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper, parser

import graph
from graph.tracing.rules import SIGNATURES
from graph.tracing.signature import Signature
from graph.values import Known, Values, value_rule

TEXT = """
<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]>
example (float[N,3,16,16] x) => (float[N,8,16,16] y)
<float[N,16,16,16] a, float[N,16,16,16] b>
{
    a = Conv<pads=[1,1,1,1]>(x, first)
    b = com.example.SoftCap(a)
    y = Conv<pads=[1,1,1,1]>(b, second)
}
"""


def example() -> ModelProto:
    """Two convolutions around the operator, and 10 of the 16 channels between them are zero."""
    random = np.random.default_rng(0)
    first, second = random.standard_normal((16, 3, 3, 3)), random.standard_normal((8, 16, 3, 3))
    first[6:] = 0
    model = parser.parse_model(TEXT)
    for name, value in (("first", first), ("second", second)):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return model


def softcap(values: Values, node: NodeProto, found: Signature) -> Known | None:
    known = values.of(node.input[0])
    return Known(30 * np.tanh(known.value / 30), known.mask) if known else None


def report(title: str) -> None:
    slim, certificate = graph.shrink(example())
    widths = [tensor.dims[0] for tensor in slim.graph.initializer]
    frozen = ", ".join(f"{entry.op} ({entry.why})" for entry in certificate.frozen) or "nothing"
    print(f"{title}: output channels {widths}, frozen by {frozen}")


if __name__ == "__main__":
    report("without the rule")
    SIGNATURES["com.example.SoftCap"] = "n c ... -> n c ..."
    value_rule("com.example.SoftCap")(softcap)
    report("with the rule")
