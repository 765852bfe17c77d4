"""Store new values for uses of constants in a model, and keep names, doc strings and sharing where possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from graph.evaluate import Array
from graph.program import Program, captured, key
from graph.trace import Use


def write_constants(
    program: Program, model: ModelProto, nodes: Sequence[NodeProto], constants: Mapping[Use, Array]
) -> None:
    """Give every use (node, input slot) its new value, in place.

    A value keeps its name where nobody else uses the old one; equal new values of one constant are stored once.

    Args:
        program: what ``model`` was read as.
        model: to be edited.
        nodes: those of ``model``, in the order of ``program.nodes``.
        constants: the new values; a slot behind the last input is added to the node.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    declared = {value.name: value for value in model.graph.input}
    taken = names_taken(model)
    users = Counter(name for node in model.graph.node for name in [*node.input, *captured(node)])
    users.update(value.name for value in model.graph.output)
    written: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    for (index, slot), value in constants.items():
        node = nodes[index]
        if key(node) == "MatMul" and slot == 2:
            _add_after(model, node, value, taken)
            continue
        while len(node.input) <= slot:
            node.input.append("")
        old = program.nodes[index].input[slot] if slot < len(program.nodes[index].input) else ""
        if users[old] == 1 and old in weights:
            weights[old].CopyFrom(_tensor(value, old, weights[old]))
            if old in declared:  # IR 3 lists weights as inputs, too
                declared[old].type.CopyFrom(helper.make_tensor_type_proto(weights[old].data_type, value.shape))
            continue
        content = old, value.shape, value.tobytes()
        if not old or content not in written:
            written[content] = unused(old or f"{node.output[0]}_bias", taken)
            model.graph.initializer.append(_tensor(value, written[content], weights.get(old)))
        node.input[slot] = written[content]


def _tensor(value: Array, name: str, like: TensorProto | None) -> TensorProto:
    tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
    if like is not None:
        tensor.doc_string = like.doc_string
        tensor.metadata_props.extend(like.metadata_props)
    return tensor


def names_taken(model: ModelProto) -> set[str]:
    """Names that a new tensor or node may not have."""
    graph = model.graph
    taken = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    for node in graph.node:
        taken.update([node.name, *node.input, *node.output, *captured(node)])
    return taken


def unused(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it if it is taken; it is taken from now on."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _add_after(model: ModelProto, node: NodeProto, value: Array, taken: set[str]) -> None:
    """MatMul has no bias: an Add behind it takes over the name of its output."""
    out = node.output[0]
    inner, bias = unused(f"{out}_product", taken), unused(f"{out}_bias", taken)
    model.graph.initializer.append(_tensor(value, bias, None))
    place = next(index for index, other in enumerate(model.graph.node) if other.output[:1] == [out])
    model.graph.node[place].output[0] = inner
    added = helper.make_node("Add", [inner, bias], [out], name=unused(f"{node.name}_bias", taken))
    model.graph.node.insert(place + 1, added)
