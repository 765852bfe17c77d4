"""Drop what nothing reads. graphsurgeon decides what is dead; the protobuf stays the one that is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_graphsurgeon as gs
from onnx import ModelProto

from graph.program import captured


def tidy(model: ModelProto) -> None:
    """Remove nodes, constants and declared shapes that no output depends on, in place.

    graphsurgeon's own export would lose metadata, doc strings and half of the declared shapes.
    """
    graph = gs.import_onnx(model)
    graph.cleanup(remove_unused_graph_inputs=False)
    alive = {tensor.name for node in graph.nodes for tensor in node.outputs}
    used = set(graph.tensors()) | {tensor.name for tensor in graph.outputs}
    used |= {name for node in model.graph.node for name in captured(node)}
    alive |= {name for name, tensor in graph.tensors().items() if isinstance(tensor, gs.Constant)}  # Constant nodes
    keep(model.graph.node, lambda node: not alive.isdisjoint(node.output))
    unused = {tensor.name for tensor in model.graph.initializer} - used
    keep(model.graph.initializer, lambda tensor: tensor.name not in unused)
    keep(model.graph.input, lambda value: value.name not in unused)  # IR 3 lists weights as inputs, too
    keep(model.graph.value_info, lambda value: value.name in alive)


def keep(entries: Any, wanted: Callable[[Any], bool]) -> None:
    """Delete the entries of a repeated field that are not ``wanted``, in place."""
    for place in reversed(range(len(entries))):
        if not wanted(entries[place]):
            del entries[place]
