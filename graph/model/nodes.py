"""What a node says of itself: its op, its attributes, the graphs inside it and what those read from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, helper


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes of ``node`` as Python values."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def key(node: NodeProto) -> str:
    """How the tables call the op of ``node``."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def label(node: NodeProto) -> str:
    """How a node is called in messages: its op and its name, or its first output where it has none."""
    return f"{node.op_type}:{node.name or next((name for name in node.output if name), '?')}"


def bodies(node: NodeProto) -> list[tuple[str, GraphProto]]:
    """The graphs inside ``node`` by attribute: branches of If, bodies of Loop and Scan."""
    found: list[tuple[str, GraphProto]] = []
    for entry in node.attribute:
        if entry.type == AttributeProto.GRAPH:
            found.append((entry.name, entry.g))
        elif entry.type == AttributeProto.GRAPHS:
            found += [(entry.name, body) for body in entry.graphs]
    return found


def captured(node: NodeProto) -> list[str]:
    """Names that graphs inside ``node`` read from outside."""
    return list(dict.fromkeys(name for _, body in bodies(node) for name in free(body)))


def free(graph: GraphProto) -> list[str]:
    """Names that ``graph`` reads and neither has nor computes."""
    bound = set(given(graph)).union({""}, *(node.output for node in graph.node))
    read = [name for node in graph.node for name in [*node.input, *captured(node)]]
    read += [value.name for value in graph.output]
    return list(dict.fromkeys(name for name in read if name not in bound))


def given(graph: GraphProto) -> list[str]:
    """Names that ``graph`` has without computing them: inputs and constants."""
    return [value.name for value in graph.input] + stored(graph)


def stored(graph: GraphProto) -> list[str]:
    """Names of the constants that lie beside the nodes of ``graph``."""
    names = [tensor.name for tensor in graph.initializer]
    return names + [tensor.values.name for tensor in graph.sparse_initializer]


def everywhere(graph: GraphProto) -> Iterator[GraphProto]:
    """``graph`` and the graphs inside its nodes, at any depth."""
    yield graph
    for node in graph.node:
        for _, body in bodies(node):
            yield from everywhere(body)
