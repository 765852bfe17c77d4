"""If, Loop and Scan: which types go into the graph inside the node, and which come out."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto

from graph.errors import ModelError
from graph.model.nodes import attributes, key, label
from graph.model.shapes import common, tensor_type

Types = Mapping[str, TypeProto]


def repeats(node: NodeProto, opset: int) -> bool:
    """Whether ``node`` runs the graph inside it for every iteration; before opset 9 Scan had a batch axis."""
    return key(node) == "Loop" or (key(node) == "Scan" and opset >= 9)


def check(node: NodeProto, body: GraphProto) -> None:
    """See that a graph inside ``node`` takes and returns as many values as the node hands and gets.

    Raises:
        ModelError: it does not.
    """
    taken, returned = {
        "If": (0, len(node.output)),
        "Loop": (len(node.input), len(node.output) + 1),
        "Scan": (len(node.input), len(node.output)),
    }[key(node)]
    if (len(body.input), len(body.output)) != (taken, returned):
        raise ModelError(
            f"node {label(node)} has a graph inside with {len(body.input)} inputs and {len(body.output)} outputs"
            f" where {taken} and {returned} fit; export the model again"
        )


def entering(node: NodeProto, body: GraphProto, outside: Types) -> dict[str, TypeProto]:
    """Types of the inputs of ``body`` in the first iteration."""
    count, found = states(node), {}
    sources = list(node.input)
    if key(node) == "Loop":
        iteration, condition = (value.name for value in body.input[:2])
        found = {iteration: tensor_type(TensorProto.INT64, ()), condition: tensor_type(TensorProto.BOOL, ())}
        sources = sources[2:]
    for place, (source, value) in enumerate(zip(sources, body.input[len(found) :], strict=False)):
        kind = outside.get(source, vague(value.type))
        found[value.name] = kind if place < count else _without(kind, _axis(node, "scan_input_axes", place - count))
    return found


def returning(node: NodeProto, body: GraphProto, entered: Types, inside: Types) -> dict[str, TypeProto]:
    """Types of the inputs of ``body`` in any iteration, if these were the types of one and what came out of it."""
    offset = int(key(node) == "Loop")  # before its states Loop has a counter and a condition, and returns the latter
    carried = zip(body.input[2 * offset :], body.output[offset : offset + states(node)], strict=False)
    found = dict(entered)
    for before, after in carried:
        kind = found[before.name]
        found[before.name] = common(kind, inside[after.name]) if after.name in inside else vague(kind)
    return found


def leaving(node: NodeProto, body: GraphProto, outside: Types, entered: Types, inside: Types) -> dict[str, TypeProto]:
    """Types of the outputs of ``node``."""
    offset, count = int(key(node) == "Loop"), states(node)
    found = {
        name: entered[value.name] for name, value in zip(node.output[:count], body.input[2 * offset :], strict=False)
    }
    length = None if offset else _length(node, outside)
    for place, (name, value) in enumerate(zip(node.output[count:], body.output[offset + count :], strict=False)):
        if value.name in inside:
            found[name] = _with(inside[value.name], _axis(node, "scan_output_axes", place), length)
    return found


def states(node: NodeProto) -> int:
    """How many values are handed from one iteration to the next."""
    return len(node.input) - (2 if key(node) == "Loop" else attributes(node)["num_scan_inputs"])


def vague(kind: TypeProto) -> TypeProto:
    """The type without its shape."""
    found = TypeProto()
    found.CopyFrom(kind)
    if found.HasField("tensor_type"):
        found.tensor_type.ClearField("shape")
    return found


def _axis(node: NodeProto, attribute: str, place: int) -> int:
    axes = attributes(node).get(attribute, [])
    return int(axes[place]) if place < len(axes) else 0


def _length(node: NodeProto, outside: Types) -> int | None:
    """How many iterations a Scan has."""
    count = states(node)
    dims = outside[node.input[count]].tensor_type.shape.dim if node.input[count] in outside else []
    return dims[_axis(node, "scan_input_axes", 0)].dim_value or None if dims else None


def _without(kind: TypeProto, axis: int) -> TypeProto:
    """The type of one slice."""
    found = TypeProto()
    found.CopyFrom(kind)
    if found.tensor_type.HasField("shape"):
        del found.tensor_type.shape.dim[axis]
    return found


def _with(kind: TypeProto, axis: int, size: int | None) -> TypeProto:
    """The type of slices along a new axis, whose size may not be known."""
    found = TypeProto()
    found.CopyFrom(kind)
    if found.tensor_type.HasField("shape"):
        dims = found.tensor_type.shape.dim
        dims.insert(axis % (len(dims) + 1), TensorShapeProto.Dimension(dim_value=size))
    return found
