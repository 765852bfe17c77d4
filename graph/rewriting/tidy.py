"""Drop what nothing reads, in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnx import GraphProto

from graph.model.nodes import captured, free, given, stored
from graph.model.order import ordered


def tidy(graph: GraphProto) -> None:
    """Remove nodes, constants and declared shapes that no output depends on; graphs inside nodes stay as they are."""
    alive = ordered(graph, free(graph))
    computed = {name for node in alive for name in node.output}
    used = {name for node in alive for name in [*node.input, *captured(node)]}
    used.update(value.name for value in graph.output)
    unused = set(stored(graph)) - used
    keep(graph.node, lambda node: not computed.isdisjoint(node.output))
    keep(graph.initializer, lambda tensor: tensor.name not in unused)
    keep(graph.sparse_initializer, lambda tensor: tensor.values.name not in unused)
    keep(graph.input, lambda value: value.name not in unused)  # IR 3 lists weights as inputs, too
    left = computed.union(given(graph))
    keep(graph.value_info, lambda value: value.name in left)


def keep(entries: Any, wanted: Callable[[Any], bool]) -> None:
    """Delete the entries of a repeated field that are not ``wanted``, in place."""
    for place in reversed(range(len(entries))):
        if not wanted(entries[place]):
            del entries[place]
