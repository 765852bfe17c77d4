"""Model-local functions: replaced by what they are made of, since every call may lose other channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import ModelProto, NodeProto
from onnx.checker import ValidationError
from onnx.inliner import inline_local_functions

from graph.errors import ModelError
from graph.files.copies import complete, skeleton
from graph.model.nodes import bodies


def inline(model: ModelProto) -> ModelProto:
    """The model without functions of its own; the model itself if it has none.

    Functions of another opset than the model's stay.

    Raises:
        ModelError: a function is broken.
    """
    if not model.functions:
        return model
    copy = skeleton(model)
    _write_defaults(copy)
    try:
        return complete(inline_local_functions(copy), model)
    except (RuntimeError, ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"cannot inline the functions of the model: {reason} Export it again") from error


def _write_defaults(model: ModelProto) -> None:
    """Give every call the attributes that it leaves at their defaults: onnx's inliner forgets them."""
    defaults = {(each.domain, each.name, each.overload): each.attribute_proto for each in model.functions}
    nodes = [*model.graph.node, *(node for each in model.functions for node in each.node)]
    for node in _all(nodes):
        named = {entry.name for entry in node.attribute}
        missing = defaults.get((node.domain, node.op_type, node.overload), ())
        node.attribute.extend(entry for entry in missing if entry.name not in named)


def _all(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of the graphs inside them."""
    for node in nodes:
        yield node
        for _, body in bodies(node):
            yield from _all(body.node)
