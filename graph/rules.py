"""What every op does to channels: the whole knowledge of the compiler about ONNX ops is in these tables.

An op is in exactly one of them. ``ELEMENTWISE`` ops treat each element alone, ``MOVEMENT`` ops only move elements, and
``SIGNATURES`` says in einsum's notation which axes of the others are the same channels. Whatever is in none of them
freezes what it touches. Adding an op is one line; see CONTRIBUTING.md. Ops of another domain than ONNX's own are called
``domain.Op``.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from graph.program import Program, Shape, attributes, key
from graph.signature import OPAQUE, Signature, parse

ELEMENTWISE: set[str] = set(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu
    Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN
    LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
    """.split()
)

MOVEMENT: set[str] = set(
    "Concat Dropout Expand Flatten Gather Pad Reshape Slice Split Squeeze Tile Transpose Unsqueeze".split()
)

Rule = Callable[[Program, NodeProto], Signature | str | None]

SIGNATURES: dict[str, str | Rule] = {
    "AveragePool": "n c ... -> n c ...",
    "GlobalAveragePool": "n c ... -> n c ...",
    "GlobalLpPool": "n c ... -> n c ...",
    "GlobalMaxPool": "n c ... -> n c ...",
    "InstanceNormalization": "n c ..., c, c -> n c ...",
    "LpPool": "n c ... -> n c ...",
}


def rule(op: str) -> Callable[[Rule], Rule]:
    """Decorator that files a function from (program, node) to a signature, or ``None`` to freeze, under ``op``."""

    def file(function: Rule) -> Rule:
        SIGNATURES[op] = function
        return function

    return file


def signature(program: Program, node: NodeProto) -> Signature | None:
    """The signature of ``node``, expanded for its ranks; ``None`` if it has no rule or its shapes are unknown."""
    entry = SIGNATURES.get(key(node))
    if entry is None or not program.shapes.keys() >= {name for name in [*node.input, *node.output] if name}:
        return None
    found = entry if isinstance(entry, str) else entry(program, node)
    if not isinstance(found, str):
        return found
    ranks = [len(program.shapes[name]) if name else None for name in node.input]
    return parse(found, ranks, [len(program.shapes[name]) for name in node.output if name])


def _single(node: NodeProto) -> bool:
    return not any(node.output[1:])


def _shapes(program: Program, node: NodeProto) -> tuple[list[Shape], Shape]:
    return [program.shapes[name] for name in node.input if name], program.shapes[node.output[0]]


@rule("MaxPool")
def max_pool(program: Program, node: NodeProto) -> str | None:
    """Without the places of the maxima: they count the elements of all channels."""
    return "n c ... -> n c ..." if _single(node) else None


@rule("BatchNormalization")
def batch_norm(program: Program, node: NodeProto) -> str | None:
    """As in inference: in training there are outputs for the statistics. Before opset 9 pixels could be apart."""
    per_channel = _single(node) and attributes(node).get("spatial", 1)
    return "n c ..., c, c, c, c -> n c ..." if per_channel else None


@rule("Conv")
def conv(program: Program, node: NodeProto) -> str | None:
    """Dense, or depthwise with one filter per channel."""
    (x, weight, *_), out = _shapes(program, node)
    group = attributes(node).get("group", 1)
    if group == 1:
        return "n i ..., o i ..., o -> n o ..."
    if group == x[1] == out[1] and weight[1] == 1:
        return "n c ..., c . ..., c -> n c ..."
    return None


@rule("ConvTranspose")
def conv_transpose(program: Program, node: NodeProto) -> str | None:
    """Dense only; the weight has its input channels first."""
    return "n i ..., i o ..., o -> n o ..." if attributes(node).get("group", 1) == 1 else None


@rule("Gemm")
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


@rule("MatMul")
def matmul(program: Program, node: NodeProto) -> Signature:
    """Numpy's matmul: leading axes are batch axes and broadcast, vectors lose their axis in the output."""
    (left, right), _ = _shapes(program, node)
    batch = max(len(left), len(right), 2) - 2
    letters = [f"b{place}" for place in range(batch)]
    a = [*letters[batch - max(len(left) - 2, 0) :], "m", "k"] if len(left) > 1 else ["k"]
    b = [*letters[batch - max(len(right) - 2, 0) :], "k", "n"] if len(right) > 1 else ["k"]
    out = [*letters, *(["m"] if len(left) > 1 else []), *(["n"] if len(right) > 1 else [])]
    return Signature((tuple(a), tuple(b)), (tuple(out),))


def _along(program: Program, node: NodeProto, blocked: set[int]) -> Signature:
    """Same shape in and out, channels may leave along every axis but the ``blocked`` ones."""
    rank = len(program.shapes[node.input[0]])
    axes = tuple(OPAQUE if axis in blocked else f"a{axis}" for axis in range(rank))
    rest = tuple(tuple([OPAQUE] * len(program.shapes.get(name, ()))) if name else () for name in node.input[1:])
    return Signature((axes, *rest), tuple(axes for name in node.output if name))


@rule("Softmax")
@rule("LogSoftmax")
@rule("Hardmax")
def softmax(program: Program, node: NodeProto) -> Signature:
    """Mixes one axis (all the last ones before opset 13)."""
    rank = len(program.shapes[node.input[0]])
    axis = attributes(node).get("axis", -1 if program.opset >= 13 else 1) % rank
    return _along(program, node, {axis} if program.opset >= 13 else set(range(axis, rank)))


@rule("LayerNormalization")
@rule("RMSNormalization")
def layer_norm(program: Program, node: NodeProto) -> Signature | None:
    """Normalises over all axes from ``axis`` on."""
    if not _single(node):
        return None
    rank = len(program.shapes[node.input[0]])
    return _along(program, node, set(range(attributes(node).get("axis", -1) % rank, rank)))


@rule("Resize")
@rule("Upsample")
def resize(program: Program, node: NodeProto) -> Signature:
    """Mixes the axes whose size changes; ``tf_crop_and_resize`` may change an axis and keep its size."""
    before, after = program.shapes[node.input[0]], program.shapes[node.output[0]]
    crops = attributes(node).get("coordinate_transformation_mode", b"") == b"tf_crop_and_resize"
    blocked = {axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new or crops}
    return _along(program, node, blocked)


def _reduce(program: Program, node: NodeProto) -> Signature | None:
    """Mixes the reduced axes; the others stay what they are."""
    before, after = program.shapes[node.input[0]], program.shapes[node.output[0]]
    attribute = attributes(node)
    axes = attribute.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        known = program.constants.get(node.input[1])
        if known is None:
            return None
        axes = [int(axis) for axis in known.ravel()]
    if not axes:
        axes = [] if attribute.get("noop_with_empty_axes") else list(range(len(before)))
    reduced = {axis % len(before) for axis in axes}
    into = tuple(OPAQUE if axis in reduced else f"a{axis}" for axis in range(len(before)))
    out = into if attribute.get("keepdims", 1) else tuple(letter for letter in into if letter != OPAQUE)
    if len(out) != len(after):
        return None
    rest = tuple(tuple([OPAQUE] * len(program.shapes.get(name, ()))) for name in node.input[1:])
    return Signature((into, *rest), (out,))


for _op in ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]:
    SIGNATURES[f"Reduce{_op}"] = _reduce
