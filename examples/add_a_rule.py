"""Teach the compiler an operator of one's own. Without a rule it freezes what it touches.

The operator is `com.example::SoftCap`, an activation that keeps channels apart. Its rule is one line in the
notation of einsum: "n c ... -> n c ..." says that axis 1 of the output is the same channels as axis 1 of the
input, and that nothing may leave along the other axes. This does not say what its value at zero is, so the
channels that leave here are those that the next convolution ignores.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, numpy_helper, parser

import graph
from graph.rules import SIGNATURES

TEXT = """
<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]>
example (float[1,3,16,16] x) => (float[1,8,16,16] y)
<float[1,16,16,16] a, float[1,16,16,16] b>
{
    a = Conv<pads=[1,1,1,1]>(x, first)
    b = com.example.SoftCap(a)
    y = Conv<pads=[1,1,1,1]>(b, second)
}
"""


def example() -> ModelProto:
    """Two convolutions around the operator; the second one ignores 10 of the 16 channels between them."""
    random = np.random.default_rng(0)
    first, second = random.standard_normal((16, 3, 3, 3)), random.standard_normal((8, 16, 3, 3))
    second[:, 6:] = 0
    model = parser.parse_model(TEXT)
    for name, value in (("first", first), ("second", second)):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return model


def report(title: str) -> None:
    slim, certificate = graph.shrink(example())
    widths = [tensor.dims[0] for tensor in slim.graph.initializer]
    frozen = ", ".join(f"{entry.op} ({entry.why})" for entry in certificate.frozen) or "nothing"
    print(f"{title}: output channels {widths}, frozen by {frozen}")


if __name__ == "__main__":
    report("without the rule")
    SIGNATURES["com.example.SoftCap"] = "n c ... -> n c ..."
    report("with the rule")
