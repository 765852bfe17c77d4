"""Sums of products: convolutions and matrix products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from graph.choosing.weights import weight
from graph.errors import ModelError
from graph.model.evaluate import Array, CannotEvaluate
from graph.model.program import Program, attributes, key, label
from graph.rewriting.patches import Context, Patch, patch
from graph.tracing.movement import collapse, trains
from graph.tracing.rules import expand, shapes, signature_rule
from graph.tracing.signature import OPAQUE, Signature
from graph.values import Known, Mask, Values, value_rule


@signature_rule("Conv")
def conv(program: Program, node: NodeProto) -> str | Signature:
    """Dense, depthwise with one filter per channel, or in groups."""
    (x, kernel, *_), out = shapes(program, node)
    groups = attributes(node).get("group", 1)
    _fits(node, x[1], kernel[1] * groups, out[1], groups)
    if groups == 1:
        return "n i ..., o i ..., o -> n o ..."
    if groups == x[1] == out[1]:
        return "n c ..., c . ..., c -> n c ..."
    return replace(expand(program, node, "n i ..., o . ..., o -> n o ..."), groups=groups)


@signature_rule("ConvTranspose")
def conv_transpose(program: Program, node: NodeProto) -> str | Signature:
    """Like Conv, but the weight has its input channels first."""
    (x, kernel, *_), out = shapes(program, node)
    groups = attributes(node).get("group", 1)
    _fits(node, x[1], kernel[0], out[1], groups)
    if groups == 1:
        return "n i ..., i o ..., o -> n o ..."
    if groups == x[1] == out[1]:
        return "n c ..., c . ..., c -> n c ..."
    return replace(expand(program, node, "n i ..., i . ..., o -> n o ..."), groups=groups)


def _fits(node: NodeProto, channels: int, expected: int, made: int, groups: int) -> None:
    """Make sure of what onnx's inference does not look at."""
    if channels != expected or channels % groups or made % groups:
        what = f"the weight is for {expected} channels in {groups} groups and meets {channels}"
        raise ModelError(f"node {label(node)} has inconsistent shapes: {what}")


@signature_rule("Gemm")
def gemm(program: Program, node: NodeProto) -> str | None:
    """``alpha A' B' + beta C`` with C broadcast to the output."""
    attribute = attributes(node)
    a = "i n" if attribute.get("transA") else "n i"
    b = "o i" if attribute.get("transB") else "i o"
    bias = ""
    if len(node.input) > 2 and node.input[2]:
        shape = program.shapes[node.input[2]]
        width = program.shapes[node.output[0]][1]
        last = "o" if shape and shape[-1] == width else OPAQUE
        bias = {0: "", 1: last, 2: f"{'n' if shape and shape[0] != 1 else OPAQUE} {last}"}[len(shape)]
    return f"{a}, {b}, {bias} -> n o"


@signature_rule("MatMul")
def matmul(program: Program, node: NodeProto) -> Signature:
    """Numpy's matmul: leading axes are batch axes and broadcast, vectors lose their axis in the output."""
    (left, right), _ = shapes(program, node)
    batch = max(len(left), len(right), 2) - 2
    letters = [f"b{place}" for place in range(batch)]
    a = [*letters[batch - max(len(left) - 2, 0) :], "m", "k"] if len(left) > 1 else ["k"]
    b = [*letters[batch - max(len(right) - 2, 0) :], "k", "n"] if len(right) > 1 else ["k"]
    out = [*letters, *(["m"] if len(left) > 1 else []), *(["n"] if len(right) > 1 else [])]
    return Signature((tuple(a), tuple(b)), (tuple(out),))


@value_rule("Conv", "ConvTranspose", "Gemm", "MatMul")
def _contraction(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """An output channel is known if every input channel with a nonzero weight in it is."""
    constant = weight(values.program, node, found)
    if constant is None:
        return _products(values, node, found) if found.summed else _depthwise(values, node)
    bias = _bias(values, node, values.program.shapes[node.output[0]][constant.made])
    if bias is None or not values.finite(constant.name) or (constant.slot == 0 and len(node.input) > 2):
        return None
    (letter,) = found.summed  # that of the input channels
    axis = found.operands[1 - constant.slot].index(letter)
    mask, value = _read(values, node, node.input[1 - constant.slot], axis)
    unsure = constant.used(values) & ~mask.reshape(constant.groups, 1, -1)
    attribute = attributes(node)
    total = attribute.get("alpha", 1.0) * constant.total(values, value) + attribute.get("beta", 1.0) * bias
    return _per_channel(values, node, constant.made, ~unsure.any(2).ravel(), total)


def _depthwise(values: Values, node: NodeProto) -> Known | None:
    """An output channel is known if its input channel is, or if its filter is zero."""
    program, name = values.program, node.input[1]
    bias = _bias(values, node, program.shapes[node.output[0]][1])
    if bias is None or name not in program.constants or not values.finite(name):
        return None
    mask, value = _read(values, node, node.input[0], 1)
    array = program.constants[name]
    total = array.sum(tuple(range(1, array.ndim)), dtype=np.float64) * value + bias
    return _per_channel(values, node, 1, mask | ~values.nonzero(name, (0,)), total)


def _per_channel(values: Values, node: NodeProto, axis: int, mask: Mask, value: NDArray[np.float64]) -> Known:
    """One value per index of ``axis`` of the output."""
    out = node.output[0]
    shape = [-1 if place == axis else 1 for place in range(len(values.program.shapes[out]))]
    constants = [values.program.constants[name] for name in node.input if name in values.program.constants]
    return Known(value.astype(constants[0].dtype).reshape(shape), mask.reshape(shape))


def _products(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """What is known of sums of products of two activations, or with a stack of weights."""
    zero, mean = _zeros(values, node, found), _mean(values, node)
    if zero is None or mean is None:
        return zero or mean
    return Known(np.where(mean.mask, mean.value, 0), mean.mask | zero.mask)


def _mean(values: Values, node: NodeProto) -> Known | None:
    """Rows of a Softmax sum to one, so they make of a constant all along their axis the same constant."""
    program, (left, right) = values.program, node.input[:2]
    known, rank = values.of(right), len(program.shapes[right])
    if key(node) != "MatMul" or known is None or rank < 2 or rank != len(program.shapes[left]):
        return None
    maker = program.nodes[program.makers[left]] if left in program.makers else None
    while maker is not None and key(maker) in ("Cast", "Dropout", "Identity") and not trains(program, maker):
        maker = program.nodes[program.makers[maker.input[0]]] if maker.input[0] in program.makers else None
    if maker is None or key(maker) != "Softmax":
        return None
    last = attributes(maker).get("axis", -1 if program.opset >= 13 else 1) % rank == rank - 1
    return known.over((rank - 2,)) if last else None


def _zeros(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """A sum of products is zero if every product has a zero factor, be it of two activations."""
    program = values.program
    if key(node) not in ("Gemm", "MatMul") or len(node.input) > 2:
        return None
    nonzero: list[Array | None] = []
    for name, letters in zip(node.input, found.operands, strict=True):
        known = values.of(name)
        finite = name not in program.constants or values.finite(name)
        zero = known.mask & (known.value == 0) if known and finite else np.zeros((1,) * len(letters), np.bool_)
        full = zip(letters, program.shapes[name], zero.shape, strict=True)
        sizes = [size if letter in found.summed else own for letter, size, own in full]
        nonzero.append(np.broadcast_to(~zero, sizes).astype(np.float32))
    try:
        sure = program.evaluate(node, nonzero)[0] == 0
    except CannotEvaluate:
        return None
    return Known(np.zeros((1,) * sure.ndim, np.float32), collapse(sure))


def _read(values: Values, node: NodeProto, data: str, axis: int) -> tuple[Mask, NDArray[np.float64]]:
    """Channels of an operand whose contribution is the same at every position, and their value (else 0)."""
    mask, value = values.along(data, axis)
    if not absorbs_border(node):
        mask = mask & (value == 0)
    return mask, np.where(mask, value, 0).astype(np.float64)


def _bias(values: Values, node: NodeProto, size: int) -> NDArray[np.float64] | None:
    """One value per output channel; ``None`` if it is computed, or differs between samples."""
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(size)
    value = values.program.constants.get(node.input[2])
    if value is None or (value.size != 1 and (value.size, value.shape[-1]) != (size, size)):
        return None
    return np.broadcast_to(value.ravel().astype(np.float64), size)


def padded(node: NodeProto) -> bool:
    """Whether a convolution or pooling op may see elements outside its input."""
    attribute = attributes(node)
    return any(attribute.get("pads", [])) or attribute.get("auto_pad", b"") not in (b"", b"NOTSET", b"VALID")


def absorbs_border(node: NodeProto) -> bool:
    """Whether a constant input channel adds the same to every output position, so that a bias can stand for it."""
    return key(node) in ("Gemm", "MatMul") or (key(node) == "Conv" and not padded(node))


@patch("Conv")
@patch("ConvTranspose")
def _group(context: Context) -> Patch:
    """As many groups as have any channel left."""
    groups = attributes(context.node).get("group", 1)
    if groups == 1:
        return Patch()
    return Patch(attributes={"group": int(context.kept(0, 1).reshape(groups, -1).any(1).sum())})
