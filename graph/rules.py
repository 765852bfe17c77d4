"""What every op does to channels: the whole knowledge of the compiler about ONNX ops is in these tables.

An op is in exactly one of them. ``ELEMENTWISE`` ops treat each element alone, ``MOVEMENT`` ops only move elements, and
``SIGNATURES`` says in einsum's notation which axes of the others are the same channels. Whatever is in none of them
freezes what it touches. Adding an op is one line; see CONTRIBUTING.md. Ops of another domain than ONNX's own are called
``domain.Op``.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from graph.program import Program, Shape, key
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

SIGNATURES: dict[str, str | Rule] = {}  #: filled by `graph.ops`, one module per family of ops


def signature_rule(*ops: str) -> Callable[[Rule], Rule]:
    """Decorator that files a function from (program, node) to a signature, or ``None`` to freeze, under ``ops``."""

    def file(function: Rule) -> Rule:
        SIGNATURES.update(dict.fromkeys(ops, function))
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


def single(node: NodeProto) -> bool:
    """Whether only the first output is used."""
    return not any(node.output[1:])


def shapes(program: Program, node: NodeProto) -> tuple[list[Shape], Shape]:
    """Shapes of the inputs that are there, and of the first output."""
    return [program.shapes[name] for name in node.input if name], program.shapes[node.output[0]]


def along(program: Program, node: NodeProto, blocked: set[int]) -> Signature:
    """Same shape in and out, channels may leave along every axis but the ``blocked`` ones."""
    rank = len(program.shapes[node.input[0]])
    axes = tuple(OPAQUE if axis in blocked else f"a{axis}" for axis in range(rank))
    rest = tuple(tuple([OPAQUE] * len(program.shapes.get(name, ()))) if name else () for name in node.input[1:])
    return Signature((axes, *rest), tuple(axes for name in node.output if name))
