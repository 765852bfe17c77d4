"""Store new values for uses of constants in a graph, and keep names, doc strings and sharing where possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from graph.model.evaluate import Array
from graph.model.nodes import captured, everywhere, given, key
from graph.model.program import Program
from graph.rewriting.tidy import keep
from graph.tracing.trace import Use

BORN = {"Split": "split", "Squeeze": "axes"}  #: what a new last input is, where it is no bias


def write_constants(
    program: Program, graph: GraphProto, nodes: Sequence[NodeProto], constants: Mapping[Use, Array], taken: set[str]
) -> None:
    """Give every use (node, input slot) its new value, in place.

    A value keeps its name where nobody else uses the old one; equal new values of one constant are stored once. What
    a graph inside a node changes of a constant from outside, it gets of its own.

    Args:
        program: what ``graph`` was read as.
        graph: to be edited.
        nodes: those of ``graph``, in the order of ``program.nodes``.
        constants: the new values; a slot behind the last input is added to the node.
        taken: names in use anywhere in the model, to which new ones are added.
    """
    stored: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    born = {node.output[0]: node for node in graph.node if key(node) == "Constant"}
    declared = {value.name: value for value in [*graph.input, *graph.value_info]}  # IR 3 lists weights as inputs, too
    users = Counter(name for node in graph.node for name in [*node.input, *captured(node)])
    users.update(value.name for value in graph.output)
    written: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    for (index, slot), value in constants.items():
        node = nodes[index]
        if key(node) == "MatMul" and slot == 2:
            _add_after(graph, node, value, taken)
            continue
        while len(node.input) <= slot:
            node.input.append("")
        old = program.nodes[index].input[slot] if slot < len(program.nodes[index].input) else ""
        new = _tensor(value, old, stored.get(old))
        if users[old] == 1 and old in stored:
            stored[old].CopyFrom(new)
        elif users[old] == 1 and old in sparse:
            graph.initializer.append(new)
            sparse.discard(old)
        elif users[old] == 1 and old in born:
            del born[old].attribute[:]
            born[old].attribute.append(helper.make_attribute("value", new))
        else:
            content = old, value.shape, value.tobytes()
            if not old or content not in written:
                new.name = unused(old or f"{node.output[0]}_{BORN.get(key(node), 'bias')}", taken)
                written[content] = new.name
                graph.initializer.append(new)
            node.input[slot] = written[content]
            continue
        if old in declared:
            declared[old].type.CopyFrom(helper.make_tensor_type_proto(new.data_type, value.shape))
    keep(graph.sparse_initializer, lambda tensor: tensor.values.name in sparse)


def names_taken(graph: GraphProto) -> set[str]:
    """Names that a new tensor or node may not have, also those of the graphs inside nodes."""
    taken: set[str] = set()
    for each in everywhere(graph):
        taken.update(given(each))
        for node in each.node:
            taken.update([node.name, *node.input, *node.output])
    return taken


def unused(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it if it is taken; it is taken from now on."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _tensor(value: Array, name: str, like: TensorProto | None = None) -> TensorProto:
    tensor = numpy_helper.from_array(np.asarray(value, order="C"), name)
    if like is not None:
        tensor.doc_string = like.doc_string
        tensor.metadata_props.extend(like.metadata_props)
    return tensor


def _add_after(graph: GraphProto, node: NodeProto, value: Array, taken: set[str]) -> None:
    """MatMul has no bias: an Add behind it takes over the name of its output."""
    out = node.output[0]
    inner, bias = unused(f"{out}_product", taken), unused(f"{out}_bias", taken)
    graph.initializer.append(_tensor(value, bias))
    place = next(index for index, other in enumerate(graph.node) if other.output[:1] == [out])
    graph.node[place].output[0] = inner
    added = helper.make_node("Add", [inner, bias], [out], name=unused(f"{node.name}_bias", taken))
    graph.node.insert(place + 1, added)
