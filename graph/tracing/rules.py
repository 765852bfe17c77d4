"""What every op does to channels: the whole knowledge of the compiler about ONNX ops is in these tables.

An op is in exactly one of them, but for Gather (see `executed`). ``ELEMENTWISE`` ops treat each element alone,
``MOVEMENT`` ops only move elements, and ``SIGNATURES`` says in einsum's notation which axes of the others are the same
channels. Whatever is in none of them freezes what it touches. Adding an op is one line; see CONTRIBUTING.md. Ops of
another domain than ONNX's own are called ``domain.Op``.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from graph.model.program import Program, Shape, attributes, key
from graph.tracing.signature import OPAQUE, Signature, parse

ELEMENTWISE: set[str] = set(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu
    Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN
    LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum SwiGLU Swish Tan Tanh ThresholdedRelu Where Xor
    """.split()
)

MOVEMENT: set[str] = set(
    """
    Concat DepthToSpace Dropout Expand Flatten Gather Pad Reshape Slice SpaceToDepth Split Squeeze Tile Transpose
    Unsqueeze
    """.split()
)

Rule = Callable[[Program, NodeProto], Signature | str | None]

SIGNATURES: dict[str, str | Rule] = {}  #: filled by `graph.ops`, one module per family of ops


def signature_rule(*ops: str) -> Callable[[Rule], Rule]:
    """Decorator that files a function from (program, node) to a signature, or ``None`` to freeze, under ``ops``."""

    def file(function: Rule) -> Rule:
        SIGNATURES.update(dict.fromkeys(ops, function))
        return function

    return file


def elementwise(program: Program, node: NodeProto) -> bool:
    """Whether ``node`` treats each element alone and broadcasts like numpy, as all ops do from opset 7 on."""
    old = program.opset < 7 and (attributes(node).get("broadcast", 0) or key(node) == "PRelu")
    return key(node) in ELEMENTWISE and not old


def executed(program: Program, node: NodeProto) -> bool:
    """Whether ``node`` moves elements to known places. A Gather by computed indices does not, and has a signature."""
    return key(node) in MOVEMENT and (key(node) != "Gather" or node.input[1] in program.constants)


def signature(program: Program, node: NodeProto) -> Signature | None:
    """The signature of ``node``, expanded for its ranks; ``None`` if it has no rule or its shapes are unknown."""
    entry = SIGNATURES.get(key(node))
    if entry is None or not program.shapes.keys() >= {name for name in [*node.input, *node.output] if name}:
        return None
    try:
        found = entry if isinstance(entry, str) else entry(program, node)
        return expand(program, node, found) if isinstance(found, str) else found
    except ValueError:  # ranks that the rule does not know
        return None


def expand(program: Program, node: NodeProto, text: str) -> Signature:
    """``text`` in einsum's notation, expanded for the ranks of ``node``'s tensors."""
    ranks = [len(program.shapes[name]) if name else None for name in node.input]
    return parse(text, ranks, [len(program.shapes[name]) for name in node.output if name])


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
