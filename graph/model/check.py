"""Refuse what onnx itself does not know, by name."""

from __future__ import annotations

from onnx import ModelProto, defs

from graph.errors import ModelError
from graph.model.nodes import everywhere, label


def check(model: ModelProto) -> None:
    """See that the model has a graph, and that onnx knows its opset and its ops.

    Ops of other domains may be unknown: they freeze what they touch.

    Raises:
        ModelError: one of them is not so.
    """
    for part in ("node", "output"):
        if not getattr(model.graph, part):
            raise ModelError(f"the model has an empty graph: it has no {part}s; export it again")
    newest = defs.onnx_opset_version()
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset > newest:
        raise ModelError(f"the model has opset {opset}, the installed onnx knows up to {newest}: pip install -U onnx")
    for graph in everywhere(model.graph):
        for node in graph.node:
            if node.domain in ("", "ai.onnx") and not defs.has(node.op_type, opset, ""):
                raise ModelError(f"node {label(node)}: onnx knows no such op in opset {opset}; export the model again")
