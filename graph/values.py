"""Step 2: what is known about values without knowing the input?

The graph is run on the *unknown* input over collapsed arrays. Unknown is a mask of its own, never NaN, since
comparisons, Cast and MaxPool would turn NaN into false facts. ``0 * unknown = 0`` holds for finite activations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from graph.evaluate import Array, CannotEvaluate
from graph.movement import collapse, data_inputs, move, paddings
from graph.program import Program, attributes
from graph.rules import ELEMENTWISE, MOVEMENT, signature
from graph.signature import OPAQUE, Signature

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """What is known of a tensor: collapsed arrays that broadcast over it; ``value`` counts where ``mask`` is true."""

    value: Array
    mask: Mask

    def along(self, axis: int) -> tuple[Mask, Array]:
        """Per index of ``axis``: is it known and the same everywhere else, and which value is it (0 if not)."""
        others = tuple(a for a in range(self.value.ndim) if a != axis)
        value = np.broadcast_to(self.value, np.broadcast_shapes(self.value.shape, self.mask.shape))
        low, high = value.min(others), value.max(others)
        mask = self.mask.all(others) & (low == high)
        return mask, np.where(mask, low, np.zeros((), value.dtype))

    @property
    def whole(self) -> bool:
        """Whether every element is known."""
        return bool(self.mask.all())


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

    def of(self, name: str) -> Known | None:
        """What is known of an activation or constant; ``None`` if nothing."""
        if name in self.known:
            return self.known[name]
        if name in self.program.constants:
            value = self.program.constants[name]
            return Known(value, np.ones((1,) * value.ndim, np.bool_))
        return None

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
        value = self.program.constants[name]
        if not np.issubdtype(value.dtype, np.floating):
            return True
        with np.errstate(all="ignore"):
            return bool(np.isfinite(value.sum(dtype=np.float64)) or np.isfinite(value).all())


Rule = Callable[[Values, NodeProto, Signature], list[Known | None]]
RULES: dict[str, Rule] = {}


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Decorator that files the values of ops with a signature."""

    def file(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, function))
        return function

    return file


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
            if known is not None and known.mask.any():
                values.known[name] = known
    return values


def _outputs(values: Values, node: NodeProto) -> list[Known | None]:
    if node.domain not in ("", "ai.onnx"):
        return []
    try:
        if node.op_type in ELEMENTWISE:
            return [_elementwise(values, node)]
        if node.op_type in MOVEMENT:
            return list(_movement(values, node))
    except CannotEvaluate:
        return []
    if node.op_type in RULES:
        found = signature(values.program, node)
        if found is not None:
            return RULES[node.op_type](values, node, found)
    return []


def _elementwise(values: Values, node: NodeProto) -> Known | None:
    operands = [values.of(name) if name else None for name in node.input]
    if all(known is None or name in values.program.constants for known, name in zip(operands, node.input, strict=True)):
        if node.op_type != "Mul":
            return None
    rank = len(values.program.shapes[node.output[0]])
    masks, arrays, zeros = [], [], []
    for name, known in zip(node.input, operands, strict=True):
        if not name:
            arrays.append(None)
            continue
        if known is None:  # any value will do where the mask says unknown
            known = Known(np.ones((1,) * len(values.program.shapes[name]), _dtype(values, node)), np.zeros((), np.bool_))
        arrays.append(known.value)
        masks.append(_lead(known.mask, rank))
        zeros.append(_lead(known.mask & (known.value == 0), rank))
    mask = np.logical_and.reduce(np.broadcast_arrays(*masks)) if len(masks) > 1 else masks[0]
    value = values.program.evaluate(node, arrays)[0]
    if node.op_type == "Mul":
        zero = np.logical_or.reduce(np.broadcast_arrays(*zeros))
        mask, value = mask | zero, np.where(zero, np.zeros((), value.dtype), value)
    mask = mask & ~np.isnan(value) if np.issubdtype(value.dtype, np.floating) else mask
    return Known(collapse(np.broadcast_to(value, np.broadcast_shapes(value.shape, mask.shape))), collapse(mask))


def _dtype(values: Values, node: NodeProto) -> np.dtype:  # type: ignore[type-arg]
    for name in node.input:
        known = values.of(name) if name else None
        if known is not None and known.value.dtype != np.bool_:
            return known.value.dtype
    return np.dtype(np.float32)


def _lead(array: Mask, rank: int) -> Mask:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _movement(values: Values, node: NodeProto) -> list[Known | None]:
    program = values.program
    operands = [values.of(name) for name in data_inputs(node)]
    if all(known is None for known in operands):
        return []
    dtype = next(known.value.dtype for known in operands if known is not None)
    data, masks = [], []
    for name, known in zip(data_inputs(node), operands, strict=True):
        ones = (1,) * len(program.shapes[name])
        data.append(known.value if known else np.zeros(ones, dtype))
        masks.append(known.mask.reshape(known.mask.shape or ones) if known else np.zeros(ones, np.bool_))
    fill = np.zeros((), dtype)
    if node.op_type == "Pad":
        written = program.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        fill = np.asarray(attributes(node).get("value", 0) if written is None else written).reshape(()).astype(dtype)
    moved = move(program, node, data, fill)
    known = move(program, node, masks, np.ones((), np.bool_))
    if node.op_type == "Pad":
        for axis, widths in enumerate(paddings(program, node)):
            if any(widths) and data[0].shape[axis] == 1:  # the border holds another value than the inside
                known = [mask & (value == fill) for mask, value in zip(known, moved, strict=True)]
    return [Known(value, mask) for value, mask in zip(moved, known, strict=True)]


def _bias(values: Values, node: NodeProto, slot: int, size: int) -> NDArray[np.float64] | None:
    if len(node.input) <= slot or not node.input[slot]:
        return np.zeros(size)
    name = node.input[slot]
    if name not in values.program.constants:
        return None
    value = values.program.constants[name].astype(np.float64)
    return np.broadcast_to(value, (size,)) if value.size in (1, size) and value.ndim < 2 else None


@rule("Conv", "ConvTranspose", "Gemm", "MatMul")
def _contraction(values: Values, node: NodeProto, found: Signature) -> list[Known | None]:
    """An output channel is known if every input channel with a nonzero weight in it is."""
    data, weight = node.input[:2]
    constants = values.program.constants
    if weight not in constants or data in constants:
        return []
    summed = found.summed & set(found.operands[0])
    produced = [letter for letter in found.operands[1] if letter in found.outputs[0] and letter != OPAQUE]
    if len(summed) != 1 or len(produced) != 1:
        return _depthwise(values, node, found) if not summed else []
    letter, born = summed.pop(), produced[0]
    axis, out_axis = found.operands[1].index(letter), found.operands[1].index(born)
    used = values.nonzero(weight, (out_axis, axis))
    if out_axis > axis:
        used = used.T
    known = values.of(data)
    size = used.shape[1]
    mask, value = known.along(found.operands[0].index(letter)) if known else (np.zeros(size, np.bool_), np.zeros(size))
    if mask.size == 1:
        mask, value = np.broadcast_to(mask, size), np.broadcast_to(value, size)
    if absorbs_border(node) is False:
        mask = mask & (value == 0)
    out_mask = ~(used & ~mask).any(1) if values.finite(weight) else np.zeros(len(used), np.bool_)
    bias = _bias(values, node, 2, len(used))
    if bias is None or not out_mask.any():
        return []
    scale = attributes(node).get("alpha", 1.0), attributes(node).get("beta", 1.0)
    total = scale[1] * bias
    if (value != 0).any():
        total = total + scale[0] * column_sums(values, weight, out_axis, axis) @ np.where(mask, value, 0).astype(np.float64)
    place = found.outputs[0].index(born)
    shape = [-1 if a == place else 1 for a in range(len(found.outputs[0]))]
    dtype = constants[weight].dtype
    return [Known(total.astype(dtype).reshape(shape), out_mask.reshape(shape))]


def _depthwise(values: Values, node: NodeProto, found: Signature) -> list[Known | None]:
    known, weight = values.of(node.input[0]), node.input[1]
    if node.op_type != "Conv" or not values.finite(weight):
        return []
    size = values.program.shapes[weight][0]
    mask, value = known.along(1) if known else (np.zeros(size, np.bool_), np.zeros(size))
    mask, value = np.broadcast_to(mask, size), np.broadcast_to(value, size)
    if absorbs_border(node) is False:
        mask = mask & (value == 0)
    unused = ~values.nonzero(weight, (0,))
    bias = _bias(values, node, 2, size)
    if bias is None:
        return []
    array = values.program.constants[weight]
    total = bias + array.astype(np.float64).sum(tuple(range(1, array.ndim))) * np.where(mask, value, 0)
    shape = [-1 if axis == 1 else 1 for axis in range(array.ndim)]
    return [Known(total.astype(array.dtype).reshape(shape), (mask | unused).reshape(shape))]


def column_sums(values: Values, weight: str, out_axis: int, axis: int) -> NDArray[np.float64]:
    """Weights summed over everything but (output, input) channel, float64 [out, in]."""
    array = values.program.constants[weight].astype(np.float64)
    others = tuple(a for a in range(array.ndim) if a not in (out_axis, axis))
    sums = array.sum(others) if others else array
    return sums.T if out_axis > axis else sums


def absorbs_border(node: NodeProto) -> bool:
    """Whether a constant input channel adds the same to every output position, so that a bias can stand for it."""
    if node.op_type in ("Gemm", "MatMul"):
        return True
    attribute = attributes(node)
    padded = any(attribute.get("pads", [])) or attribute.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID", b"")
    return node.op_type == "Conv" and not padded


@rule("BatchNormalization")
def _batch_norm(values: Values, node: NodeProto, found: Signature) -> list[Known | None]:
    """``scale (x - mean) / sqrt(var + epsilon) + shift``: with a zero scale the shift, whatever x is."""
    if any(name not in values.program.constants for name in node.input[1:]):
        return []
    scale, shift, mean, var = (values.program.constants[name].astype(np.float64) for name in node.input[1:5])
    known = values.of(node.input[0])
    size = len(scale)
    mask, value = known.along(1) if known else (np.zeros(size, np.bool_), np.zeros(size))
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(var + attributes(node).get("epsilon", 1e-5))
        total = np.where(factor == 0, shift, factor * (np.where(mask, value, 0) - mean) + shift)
    shape = [-1 if axis == 1 else 1 for axis in range(len(found.outputs[0]))]
    sure = (mask | (factor == 0)) & np.isfinite(total)
    dtype = values.program.constants[node.input[1]].dtype
    return [Known(total.astype(dtype).reshape(shape), sure.reshape(shape))]


@rule("MaxPool", "GlobalMaxPool", "GlobalAveragePool", "AveragePool", "ReduceMean", "ReduceMax", "ReduceMin", "Resize", "Upsample")
def _average(values: Values, node: NodeProto, found: Signature) -> list[Known | None]:
    """Whatever averages or selects keeps a constant; only padding that counts as zeros spoils it."""
    attribute = attributes(node)
    spoiled = node.op_type == "AveragePool" and attribute.get("count_include_pad", 0) and not absorbs_border_pool(node)
    spoiled = spoiled or (node.op_type == "Resize" and attribute.get("mode", b"nearest") != b"nearest")
    return _carry(values, node, found, zero_only=bool(spoiled))


@rule("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "GlobalLpPool", "LpPool")
def _zero_keeping(values: Values, node: NodeProto, found: Signature) -> list[Known | None]:
    """Sums keep zeros."""
    return _carry(values, node, found, zero_only=True)


def absorbs_border_pool(node: NodeProto) -> bool:
    """Whether a pooling op sees no padding."""
    attribute = attributes(node)
    return not any(attribute.get("pads", [])) and attribute.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID", b"")


def _carry(values: Values, node: NodeProto, found: Signature, zero_only: bool) -> list[Known | None]:
    known = values.of(node.input[0])
    if known is None:
        return []
    letters, out = found.operands[0], found.outputs[0]
    mixed = tuple(axis for axis, letter in enumerate(letters) if letter == OPAQUE)
    value = np.broadcast_to(known.value, np.broadcast_shapes(known.value.shape, known.mask.shape))
    low, high = value.min(mixed, keepdims=True), value.max(mixed, keepdims=True)
    mask = known.mask.all(mixed, keepdims=True) & (low == high)
    if zero_only:
        mask = mask & (low == 0)
    if len(out) != len(letters):  # the reduced axes are gone
        low, mask = low.squeeze(mixed), mask.squeeze(mixed)
    return [Known(low, mask)]
