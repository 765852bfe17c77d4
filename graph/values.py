"""Step 2: what is known about values without knowing the input.

The graph is run on the *unknown* input over collapsed arrays. Unknown is a mask of its own, never NaN, since
comparisons, Cast and MaxPool would turn NaN into false facts. ``0 * unknown = 0`` is right for finite values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from graph.model.evaluate import Array, CannotEvaluate
from graph.model.program import Program, Shape, attributes, key
from graph.tracing.movement import collapse, cut_elsewhere, data_inputs, move, unsettled
from graph.tracing.padding import paddings
from graph.tracing.rules import elementwise, executed, signature
from graph.tracing.signature import OPAQUE, Signature

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """What is known of a tensor: collapsed arrays that broadcast over it; ``value`` counts where ``mask`` is true."""

    value: Array
    mask: Mask

    def over(self, axes: tuple[int, ...]) -> Known:
        """What is known and the same all along ``axes``, which are cut to size 1."""
        value = np.broadcast_to(self.value, np.broadcast_shapes(self.value.shape, self.mask.shape))
        low, high = value.min(axes, keepdims=True), value.max(axes, keepdims=True)
        return Known(low, self.mask.all(axes, keepdims=True) & (low == high))

    def along(self, axis: int) -> tuple[Mask, Array]:
        """Per index of ``axis``: is it known and the same everywhere else, and which value is it (0 if not)."""
        known = self.over(tuple(a for a in range(self.value.ndim) if a != axis))
        mask = known.mask.ravel()
        return mask, np.where(mask, known.value.ravel(), np.zeros((), known.value.dtype))

    def onto(self, letters: tuple[str, ...], output: tuple[str, ...]) -> Known:
        """What is known of an output with the same letters in the same order, whatever it does along opaque axes."""
        mixed = tuple(axis for axis, letter in enumerate(letters) if letter == OPAQUE)
        known = self.over(mixed)
        sizes = dict(zip(letters, known.mask.shape, strict=True))
        shape = [1 if letter == OPAQUE else sizes.get(letter, 1) for letter in output]
        return Known(known.value.reshape(shape), known.mask.reshape(shape))


@dataclass
class Values:
    """Everything that is known.

    Attributes:
        known: per activation, what is known of it; tensors of which nothing is known are absent.
        program: the model.
    """

    program: Program
    known: dict[str, Known] = field(default_factory=dict)
    _nonzero: dict[tuple[str, tuple[int, ...]], Mask] = field(default_factory=dict)
    _finite: dict[str, bool] = field(default_factory=dict)

    def of(self, name: str) -> Known | None:
        """What is known of an activation or constant; ``None`` if nothing."""
        if name in self.known:
            return self.known[name]
        value = self.program.constants.get(name)
        return Known(value, np.ones((1,) * value.ndim, np.bool_)) if value is not None and value.size else None

    def along(self, name: str, axis: int) -> tuple[Mask, Array]:
        """`Known.along` at full length; nothing is known of a tensor that is absent."""
        size = self.program.shapes[name][axis]
        known = self.of(name)
        if known is None:
            return np.zeros(size, np.bool_), np.zeros(size, np.float32)
        mask, value = known.along(axis)
        return np.broadcast_to(mask, size), np.broadcast_to(value, size)

    def nonzero(self, name: str, axes: tuple[int, ...]) -> Mask:
        """Where a constant has any nonzero element, reduced over the other ``axes``."""
        key = (name, axes)
        if key not in self._nonzero:
            value = self.program.constants[name]
            others = tuple(axis for axis in range(value.ndim) if axis not in axes)
            self._nonzero[key] = (value != 0).any(others) if others else value != 0
        return self._nonzero[key]

    def finite(self, name: str) -> bool:
        """Whether a constant is free of NaN and infinities: 0 * inf is not 0."""
        if name not in self._finite:
            value = self.program.constants[name]
            with np.errstate(all="ignore"):  # numpy's own test of a type does not know bfloat16
                self._finite[name] = "float" not in value.dtype.name or bool(
                    np.isfinite(value.sum()) or np.isfinite(value).all()
                )
        return self._finite[name]


Rule = Callable[[Values, NodeProto, Signature], Known | None]
RULES: dict[str, Rule] = {}


def value_rule(*ops: str) -> Callable[[Rule], Rule]:
    """Decorator that files what is known of the first output of ops with a signature."""

    def file(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, function))
        return function

    return file


def carry(
    values: Values, node: NodeProto, found: Signature, *, zero_only: bool = False, slots: Sequence[int] = (0,)
) -> Known | None:
    """What is known of an output whose elements are those of the operands in ``slots``, in whatever place or mixture.

    It is where all of the operands are known to be the same, or zero (``zero_only``) if a mixture keeps only that.
    """
    operands = [values.of(node.input[slot]) for slot in slots]
    placed = [
        known.onto(found.operands[slot], found.outputs[0]) for known, slot in zip(operands, slots, strict=True) if known
    ]
    if len(placed) < len(slots):
        return None
    value, mask = placed[0].value, placed[0].mask
    for known in placed[1:]:
        mask = mask & known.mask & (known.value == value)
    return Known(value, mask & (value == 0) if zero_only else mask)


def propagate(program: Program) -> Values:
    """Run the graph on the unknown input."""
    values = Values(program)
    for node in program.nodes:
        names = [name for name in node.output if name]
        if all(name in program.constants for name in names):
            continue
        if not all(name in program.shapes for name in [*node.input, *names] if name):
            continue
        for name, known in zip(names, _outputs(values, node), strict=False):
            if known is None or not known.value.size:
                continue
            if known.mask.ndim and name in program.dynamic:
                known = known.over(tuple(unsettled(program, node, name, [known.mask, known.value])))
            if known.mask.any():
                values.known[name] = known
    return values


def _outputs(values: Values, node: NodeProto) -> list[Known | None]:
    try:
        if elementwise(values.program, node):
            return [_elementwise(values, node)]
        if executed(values.program, node):
            return _movement(values, node)
        found = signature(values.program, node) if key(node) in RULES and node.output[0] else None
        return [RULES[key(node)](values, node, found)] if found is not None else []
    except CannotEvaluate:
        return []


def _elementwise(values: Values, node: NodeProto) -> Known | None:
    """Known where every operand is, and where a factor is zero."""
    product = key(node) == "Mul"
    rank = len(values.program.shapes[node.output[0]])
    operands = [values.of(name) if name else None for name in node.input]
    dtype = next((known.value.dtype for known in operands if known), None)
    partial = any(name and not known for name, known in zip(node.input, operands, strict=True))
    if dtype is None or (partial and not product):
        return None
    arrays: list[Array | None] = []
    sure = np.ones((1,) * rank, np.bool_)
    zero = np.zeros((1,) * rank, np.bool_)
    for name, known in zip(node.input, operands, strict=True):
        if not name:
            arrays.append(None)
            continue
        if known is None:
            ones = (1,) * len(values.program.shapes[name])
            known = Known(np.ones(ones, dtype), np.zeros(ones, np.bool_))
        array = np.where(known.mask, known.value, np.ones((), known.value.dtype))  # finite where it is unknown
        arrays.append(array)
        sure = sure & known.mask
        zero = zero | (known.mask & (array == 0))
    value = values.program.evaluate(node, arrays)[0]
    mask = sure | zero if product else sure
    if "float" in value.dtype.name:
        mask = mask & ~np.isnan(value)
    return Known(collapse(value), collapse(mask))


def _movement(values: Values, node: NodeProto) -> list[Known | None]:
    program = values.program
    names = data_inputs(node)
    operands = [values.of(name) for name in names]
    loose = tuple(cut_elsewhere(program, node))
    operands = [known.over(loose) if known and loose else known for known in operands]
    pads = key(node) == "Pad"  # what it writes is known, whatever it is written around
    fill = _fill(program, node) if pads else np.zeros(())
    if pads and loose:  # a border of any width is no border only if it is the same inside
        return [Known(known.value, known.mask & (known.value == fill)) for known in operands if known]
    dtype = next((known.value.dtype for known in operands if known), fill.dtype if pads else None)
    if dtype is None:
        return []
    data, masks = [], []
    for name, known in zip(names, operands, strict=True):
        shape = _padded(program, node) if pads else (1,) * len(program.shapes[name])
        data.append(known.value if known else np.zeros(shape, dtype))
        masks.append(known.mask if known else np.zeros(shape, np.bool_))
    fill = fill.astype(dtype)
    moved = move(program, node, data, fill)
    sure = move(program, node, masks, np.ones((), np.bool_))
    if pads and attributes(node).get("mode", b"constant") == b"constant":
        bordered = [any(widths) for widths in paddings(program, node)]
        if any(wide and size == 1 for wide, size in zip(bordered, data[0].shape, strict=True)):
            sure = [mask & (value == fill) for mask, value in zip(sure, moved, strict=True)]  # no border in `moved`
    if key(node) == "Dropout":
        moved = moved[:1]  # the second output is its mask
    return [Known(value, mask) for value, mask in zip(moved, sure, strict=False)]


def _padded(program: Program, node: NodeProto) -> Shape:
    """As long as the input along the axes that Pad makes longer, for whatever is fed."""
    shape, dynamic = program.shapes[node.input[0]], program.dynamic.get(node.input[0], {})
    widths = paddings(program, node)
    return tuple(size if any(widths[axis]) and axis not in dynamic else 1 for axis, size in enumerate(shape))


def _fill(program: Program, node: NodeProto) -> Array:
    """What Pad writes."""
    if len(node.input) < 3 or not node.input[2]:
        return np.asarray(attributes(node).get("value", 0), np.float32)
    if node.input[2] not in program.constants:
        raise CannotEvaluate("Pad: its value is computed from the input")
    return program.constants[node.input[2]].reshape(())
