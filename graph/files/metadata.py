"""What exporters leave in a file besides the model."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto


def strip_exporter_metadata(model: ModelProto) -> None:
    """Remove what the exporter notes down for itself, absolute paths of the building machine among it."""
    graph = model.graph
    entries: list[Any] = [model, graph, *graph.node, *graph.initializer]
    entries += [*graph.input, *graph.output, *graph.value_info]
    for entry in entries:
        for place in reversed(range(len(entry.metadata_props))):
            key = entry.metadata_props[place].key
            if key == "namespace" or key.startswith("pkg."):
                del entry.metadata_props[place]
    for node in graph.node:
        node.doc_string = ""
