"""Execute one node with onnx's own reference implementation, at the node's own opset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto
from onnx.reference import ReferenceEvaluator

Array = NDArray[Any]


class CannotEvaluate(Exception):  # noqa: N818  it is a statement about an op, not a failure
    """The reference implementation does not know this op, or not for these inputs."""


def evaluate(node: NodeProto, opsets: Sequence[OperatorSetIdProto], inputs: Sequence[Array | None]) -> list[Array]:
    """Outputs of ``node`` on ``inputs`` (``None`` for an optional input that is not there).

    Raises:
        CannotEvaluate: onnx has no reference implementation, or it fails on these inputs.
    """
    names = [name for name in dict.fromkeys(node.input) if name]
    model = ModelProto(
        ir_version=10,
        opset_import=list(opsets),
        graph=GraphProto(
            name="node",
            node=[node],
            input=[ValueInfoProto(name=name) for name in names],
            output=[ValueInfoProto(name=name) for name in node.output if name],
        ),
    )
    feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if name}
    try:
        with np.errstate(all="ignore"):
            outputs = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # the reference implementation raises whatever numpy raises
        raise CannotEvaluate(f"{node.op_type}: {error}") from error
    return [np.asarray(output) for output in outputs]
