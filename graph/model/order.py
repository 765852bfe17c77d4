"""Producers before consumers, whatever order the file has, and nothing that no output depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from operator import itemgetter

from onnx import GraphProto, NodeProto

from graph.errors import ModelError
from graph.model.nodes import captured, given, label, stored


def ordered(graph: GraphProto, outer: Iterable[str] = ()) -> list[NodeProto]:
    """The nodes of ``graph`` that its outputs depend on, in an order in which they can be computed.

    Args:
        graph: the whole model's, or one inside a node.
        outer: names that a graph inside a node may read from outside.

    Raises:
        ModelError: a name is given twice or by nobody, or the graph has a cycle.
    """
    makers = _makers(graph)
    reads = [[*node.input, *captured(node)] for node in graph.node]
    known = makers.keys() | set(given(graph)) | set(outer) | {""}
    for node, names in zip(graph.node, reads, strict=True):
        missing = next((name for name in names if name not in known), None)
        if missing is not None:
            raise ModelError(f"node {label(node)} reads '{missing}', which nothing computes")
    absent = next((value.name for value in graph.output if value.name not in known), None)
    if absent is not None:
        raise ModelError(f"graph output '{absent}' is computed by no node")
    nodes = [graph.node[index] for index in _sorted(graph, makers, reads)]
    return behind(nodes, [value.name for value in graph.output])


def behind(nodes: Sequence[NodeProto], names: Iterable[str]) -> list[NodeProto]:
    """Those of ``nodes``, producers before consumers, that ``names`` depend on."""
    wanted = set(names)
    alive: list[NodeProto] = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(filter(None, node.output)):
            wanted.update([*node.input, *captured(node)])
            alive.append(node)
    return alive[::-1]


def _makers(graph: GraphProto) -> dict[str, int]:
    """Index of the node that computes a name."""
    others = set(given(graph))
    for names in ([value.name for value in graph.input], stored(graph)):  # an old file lists its constants in both
        name, count = max(Counter(names).items(), key=itemgetter(1), default=("", 0))
        if count > 1:
            raise ModelError(f"{count} inputs or constants of the graph are called '{name}'")
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in makers or name in others:
                other = f"node {label(graph.node[makers[name]])}" if name in makers else "an input or a constant"
                raise ModelError(f"node {label(node)} computes '{name}', which is the name of what {other} gives, too")
            makers[name] = index
    return makers


def _sorted(graph: GraphProto, makers: dict[str, int], reads: list[list[str]]) -> Sequence[int]:
    """Indices of all nodes, in the order of the file if that can be computed."""
    before = [{makers[name] for name in names if name in makers} for names in reads]
    if all(maker < index for index, needed in enumerate(before) for maker in needed):
        return range(len(before))
    try:
        return list(TopologicalSorter(dict(enumerate(before))).static_order())
    except CycleError as error:
        cycle = error.args[1]
        first = min(cycle)
        name = next(name for name in reads[first] if makers.get(name) in cycle)
        raise ModelError(
            f"node {label(graph.node[first])} reads '{name}', which depends on that node itself: a cycle"
        ) from error
