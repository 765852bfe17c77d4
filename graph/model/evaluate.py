"""Execute one node with onnx's own reference implementation, at the node's own opset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator

Array = NDArray[Any]


SINCE = {"DequantizeLinear": 19, "QuantizeLinear": 19}  #: older ones, which onnx lacks, say nothing else


class CannotEvaluate(Exception):  # noqa: N818  it is a statement about an op, not a failure
    """The reference implementation does not know this op, or not for these inputs."""


def evaluate(node: NodeProto, opsets: Sequence[OperatorSetIdProto], inputs: Sequence[Array | None]) -> list[Array]:
    """Outputs of ``node`` on ``inputs`` (``None`` for an optional input that is not there).

    Raises:
        CannotEvaluate: onnx has no reference implementation, or it fails on these inputs.
    """
    feeds = {f"i{slot}": value for slot, value in enumerate(inputs) if node.input[slot]}
    nameless = NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
    nameless.input.extend(f"i{slot}" if name else "" for slot, name in enumerate(node.input))
    nameless.output.extend(f"o{slot}" if name else "" for slot, name in enumerate(node.output))
    versions = tuple((each.domain, each.version) for each in opsets)
    try:
        with np.errstate(all="ignore"):
            outputs = _evaluator(nameless.SerializeToString(deterministic=True), versions).run(None, feeds)
    except Exception as error:  # the reference implementation raises whatever numpy raises
        raise CannotEvaluate(f"{node.op_type}: {error}") from error
    if any(isinstance(output, list) for output in outputs):
        raise CannotEvaluate(f"{node.op_type}: a sequence is no tensor")
    return [np.asarray(output) for output in outputs]


@lru_cache(maxsize=256)  # most nodes of a model differ from others by their names only
def _evaluator(nameless: bytes, versions: tuple[tuple[str, int], ...]) -> ReferenceEvaluator:
    node = NodeProto.FromString(nameless)
    since = SINCE.get(node.op_type, 1)
    graph = GraphProto(
        name="node",
        node=[node],
        input=[ValueInfoProto(name=name) for name in node.input if name],
        output=[ValueInfoProto(name=name) for name in node.output if name],
    )
    opsets = [helper.make_opsetid(domain, max(version, since)) for domain, version in versions]
    return ReferenceEvaluator(ModelProto(ir_version=10, opset_import=opsets, graph=graph))
