"""Which layers of a graph can be fitted anew, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from onnx import NodeProto

from compress.repair.layer import Layer
from compress.repair.windows import transposed_pads
from graph.model.nodes import attributes, key, label
from graph.model.program import Program
from graph.tracing.trace import Trace, Use


def fittable(program: Program, trace: Trace) -> tuple[list[Layer], dict[str, str]]:
    """The nodes of ``program`` whose weights can be fitted, and of those with weights that cannot, why."""
    found, left, constants = [], {}, program.constants.keys()
    for index, node in enumerate(program.nodes):
        if key(node) not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or constants.isdisjoint(node.input[:2]):
            continue
        each = _layer(program, trace, index, node)
        if isinstance(each, Layer):
            found.append(each)
        else:
            left[label(node)] = each
    return found, left


def _layer(program: Program, trace: Trace, index: int, node: NodeProto) -> Layer | str:
    """A layer, or why the node is none."""
    name, attribute = node.input[1], attributes(node)
    if node.input[0] in program.constants:
        return "its first operand is a constant"
    if node.input[0] not in program.shapes or node.output[0] not in program.shapes:
        return "its shapes are not known"
    shape = program.shapes[name]
    if not _supported(node, shape):
        return "its form is not supported"
    if (index, 1) in trace.stored or program.constants[name].dtype.kind != "f":
        return "its weight is quantised"
    if len(program.consumers[name]) > 1 or name in program.outputs:
        return "its weight is shared with other nodes"
    groups = attribute.get("group", 1)
    if key(node) == "ConvTranspose":
        outputs = groups * shape[1]
    else:
        outputs = shape[0] if key(node) == "Conv" or attribute.get("transB") else shape[1]
    bias = _bias(program, index, node, outputs)
    if len(node.input) > 2 and node.input[2] and bias is None:
        return "its bias is not one number per channel"
    return Layer(index, node, (index, 1), bias, groups, prod(shape) // outputs, outputs)


def _supported(node: NodeProto, shape: Sequence[int]) -> bool:
    """Whether a node with a weight of this shape has a form that `Layer` knows."""
    attribute, rank = attributes(node), len(shape) - 2
    if key(node) == "ConvTranspose":
        steps = zip(shape[2:], attribute.get("dilations", [1] * rank), strict=True)
        pads = transposed_pads(attribute, [(size - 1) * step + 1 for size, step in steps])
        explicit = attribute.get("auto_pad", b"NOTSET") == b"NOTSET" and "output_shape" not in attribute
        return explicit and min(min(each) for each in pads) >= 0
    return key(node) == "Conv" or (len(shape) == 2 and not attribute.get("transA"))


def _bias(program: Program, index: int, node: NodeProto, outputs: int) -> Use | None:
    """Where a constant is or can be added to every output channel."""
    if key(node) != "MatMul":
        absent = len(node.input) < 3 or not node.input[2]
        fits = absent or _per_channel(program, node.input[2], outputs)
        return (index, 2) if fits and attributes(node).get("beta", 1.0) else None
    for place in sole(program, node.output[0]):
        for slot, name in enumerate(program.nodes[place].input):
            if key(program.nodes[place]) == "Add" and _per_channel(program, name, outputs):
                return place, slot
    return None


def _per_channel(program: Program, name: str, outputs: int) -> bool:
    """Whether a constant has one number per output channel, which nobody else reads along another axis."""
    if name not in program.constants or program.constants[name].dtype.kind != "f":
        return False
    shape = program.shapes[name]
    return prod(shape) == outputs == (shape[-1] if shape else 0)


def sole(program: Program, name: str) -> Iterator[int]:
    """The node that reads ``name``, if exactly one does and it is no output."""
    users = program.consumers.get(name, [])
    if len(users) == 1 and name not in program.outputs:
        yield users[0]
