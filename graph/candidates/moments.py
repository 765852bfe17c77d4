"""A model that also returns statistics of its activations, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from graph.files.copies import complete, skeleton
from graph.model.program import Program
from graph.rewriting.write import names_taken, unused

#: Of x: its mean, that of its absolute value and that of its square.
MOMENTS = 3


def with_moments(program: Program, axes: Sequence[tuple[str, int]]) -> tuple[ModelProto, list[list[str]]]:
    """The model with further outputs: for every (tensor, axis), `MOMENTS` float32 vectors [channels].

    Args:
        program: the model.
        axes: activations, each with the axis that is left; means go over all others.

    Returns:
        the model, and the names of the vectors per entry of ``axes``.
    """
    model = skeleton(program.model)
    taken = names_taken(model.graph)
    names = [_add(program, model, tensor, axis, taken) for tensor, axis in axes]
    return complete(model, program.model), names


def _add(program: Program, model: ModelProto, tensor: str, axis: int, taken: set[str]) -> list[str]:
    def node(op: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [unused(f"{tensor}_{op}", taken)], **attributes))
        return str(nodes[-1].output[0])

    def mean(name: str) -> str:
        if program.opset < 18:  # from which on the axes are an input
            return node("ReduceMean", name, axes=others, keepdims=0)
        return node("ReduceMean", name, places, keepdims=0)

    nodes: list[NodeProto] = []
    others = [other for other in range(len(program.shapes[tensor])) if other != axis]
    places = unused(f"{tensor}_axes", taken)
    if program.opset >= 18:
        model.graph.initializer.append(numpy_helper.from_array(np.array(others, np.int64), places))
    single = node("Cast", tensor, to=TensorProto.FLOAT)  # squares leave the range of float16
    found = [mean(single), mean(node("Abs", single)), mean(node("Mul", single, single))]
    model.graph.node.extend(nodes)
    model.graph.output.extend(ValueInfoProto(name=name) for name in found)
    return found
