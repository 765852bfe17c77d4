"""Sums of products: convolutions and matrix products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from graph.evaluate import Array, CannotEvaluate
from graph.movement import collapse
from graph.patches import Context, Patch, patch
from graph.program import Program, attributes, key
from graph.rules import shapes, signature_rule
from graph.signature import OPAQUE, Signature
from graph.values import Known, Mask, Values, value_rule


@signature_rule("Conv")
def conv(program: Program, node: NodeProto) -> str | None:
    """Dense, or depthwise with one filter per channel."""
    (x, weight, *_), out = shapes(program, node)
    group = attributes(node).get("group", 1)
    if group == 1:
        return "n i ..., o i ..., o -> n o ..."
    if group == x[1] == out[1] and weight[1] == 1:
        return "n c ..., c . ..., c -> n c ..."
    return None


@signature_rule("ConvTranspose")
def conv_transpose(program: Program, node: NodeProto) -> str | None:
    """Dense only; the weight has its input channels first."""
    return "n i ..., i o ..., o -> n o ..." if attributes(node).get("group", 1) == 1 else None


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
    slot = 0 if node.input[0] in values.program.constants else 1
    weight, data = node.input[slot], node.input[1 - slot]
    letters, others = found.operands[slot], found.operands[1 - slot]
    if weight not in values.program.constants:
        return _zeros(values, node, found)
    born = [letter for letter in letters if letter in found.outputs[0] and letter != OPAQUE]
    if len(born) != 1 or not values.finite(weight) or (slot == 0 and len(node.input) > 2):
        return None
    out_axis = letters.index(born[0])
    bias = _bias(values, node, values.program.shapes[weight][out_axis])
    if bias is None:
        return None
    if found.summed:  # one letter: that of the input channels
        (letter,) = found.summed
        axis = letters.index(letter)
        mask, value = _read(values, node, data, others.index(letter))
        used = values.nonzero(weight, tuple(sorted((out_axis, axis))))
        sure = ~((used.T if out_axis > axis else used) & ~mask).any(1)
        total = column_sums(values, weight, out_axis, axis) @ value if value.any() else np.zeros(1)
    else:  # depthwise
        mask, value = _read(values, node, data, others.index(born[0]))
        sure = mask | ~values.nonzero(weight, (out_axis,))
        array = values.program.constants[weight].astype(np.float64)
        total = array.sum(tuple(range(1, array.ndim))) * value
    attribute = attributes(node)
    total = attribute.get("alpha", 1.0) * total + attribute.get("beta", 1.0) * bias
    shape = [-1 if letter == born[0] else 1 for letter in found.outputs[0]]
    return Known(total.astype(values.program.constants[weight].dtype).reshape(shape), np.asarray(sure).reshape(shape))


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


def column_sums(values: Values, weight: str, out_axis: int, axis: int) -> NDArray[np.float64]:
    """Weights summed over everything but (output, input) channel, float64 [out, in]."""
    array = values.program.constants[weight].astype(np.float64)
    sums: NDArray[np.float64] = array.sum(tuple(a for a in range(array.ndim) if a not in (out_axis, axis)))
    return sums.T if out_axis > axis else sums


def padded(node: NodeProto) -> bool:
    """Whether a convolution or pooling op may see elements outside its input."""
    attribute = attributes(node)
    return any(attribute.get("pads", [])) or attribute.get("auto_pad", b"") not in (b"", b"NOTSET", b"VALID")


def absorbs_border(node: NodeProto) -> bool:
    """Whether a constant input channel adds the same to every output position, so that a bias can stand for it."""
    return key(node) in ("Gemm", "MatMul") or (key(node) == "Conv" and not padded(node))


@patch("Conv")
def _conv(context: Context) -> Patch:
    group = attributes(context.node).get("group", 1)
    if group == 1:
        return Patch()
    channels = int(context.kept(0, 1).sum())
    return Patch(attributes={"group": group * channels // context.shape[1]})
