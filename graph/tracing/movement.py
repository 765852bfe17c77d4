"""Ops that only move elements are executed, on whatever array we like: channel ids, values, masks.

Arrays are *collapsed*: an axis along which nothing changes has size 1, whatever the tensor's own size is. An axis that
the op really touches is expanded first, and collapsed again afterwards, so that a feature map costs no more than its
channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from graph.errors import ModelError
from graph.model.evaluate import Array, CannotEvaluate
from graph.model.program import Program, Shape, attributes, key, label
from graph.tracing.padding import pad

RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}


def move(program: Program, node: NodeProto, data: Sequence[Array], fill: Array) -> list[Array]:
    """Outputs of a data movement on collapsed arrays in place of its data inputs.

    Args:
        program: the model that ``node`` belongs to.
        node: an op of ``rules.MOVEMENT``.
        data: one collapsed array per data input (all inputs of Concat, else the first).
        fill: what Pad writes, an array that broadcasts over the padded output.

    Raises:
        CannotEvaluate: the op depends on something that is not known.
    """
    if program.opset < 7 and key(node) in ("Dropout", "Reshape", "Tile"):
        raise CannotEvaluate(f"{node.op_type}: as it was before opset 7")
    shapes = [program.shapes[name] for name in data_inputs(node)]
    out_shapes = [program.shapes[name] for name in node.output if name]
    match key(node):
        case op if op in RESHAPES:
            outputs = [reshape(data[0], shapes[0], out_shapes[0])]
        case "Expand":
            outputs = [data[0].reshape((1,) * (len(out_shapes[0]) - data[0].ndim) + data[0].shape)]
        case "Dropout":
            if trains(program, node):
                raise CannotEvaluate("Dropout: in training")
            outputs = [data[0]] * len(out_shapes)
        case "Pad":
            outputs = [pad(program, node, data[0], shapes[0], fill)]
        case "DepthToSpace" | "SpaceToDepth":
            outputs = [_blocks(node, data[0], shapes[0], out_shapes[0])]
        case _:
            axes = touched(program, node)
            arrays = [_expand(array, shape, axes) for array, shape in zip(data, shapes, strict=True)]
            if key(node) == "Concat":
                arrays = _align(arrays, axes)
            parameters = [program.known(name) if name else None for name in node.input[len(arrays) :]]
            if any(value is None and name for value, name in zip(parameters, node.input[len(arrays) :], strict=True)):
                raise CannotEvaluate(f"{node.op_type}: its parameters are computed from the input")
            outputs = program.evaluate(node, [*arrays, *parameters])
    return [collapse(array) for array in outputs]


def data_inputs(node: NodeProto) -> list[str]:
    """The inputs that are moved, as opposed to shapes, axes and indices."""
    return list(node.input) if key(node) == "Concat" else [node.input[0]]


def collapse(array: Array) -> Array:
    """The same array with every axis along which nothing changes cut to size 1."""
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            first = array.take([0], axis)
            if (array == first).all():
                array = first
    return array


def reshape(array: Array, before: Shape, after: Shape) -> Array:
    """Reshape a collapsed array from full shape ``before`` to full shape ``after``.

    Axes are matched in groups of equal size product; a group along which nothing changes stays collapsed.
    """
    pieces_in: list[int] = []
    pieces_out: list[int] = []
    for old, new in factors(before, after):
        varies = any(array.shape[axis] > 1 for axis in old)
        pieces_in += [before[axis] if varies else 1 for axis in old]
        pieces_out += [after[axis] if varies else 1 for axis in new]
    return np.broadcast_to(array, pieces_in).reshape(pieces_out)


def factors(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Split the axes of two shapes of equal size into the finest groups of equal product."""
    if 0 in before:  # every product is the same
        return [(list(range(len(before))), list(range(len(after))))]
    groups = []
    i = j = 0
    while i < len(before) or j < len(after):
        old, new = [], []
        if i < len(before):
            old.append(i)
        if j < len(after):
            new.append(j)
        i, j = i + len(old), j + len(new)
        left, right = _size(before, old), _size(after, new)
        while left != right:
            if (left < right and i < len(before)) or j >= len(after):
                old.append(i)
                i += 1
            else:
                new.append(j)
                j += 1
            left, right = _size(before, old), _size(after, new)
        groups.append((old, new))
    return groups


def _size(shape: Shape, axes: list[int]) -> int:
    return int(np.prod([shape[axis] for axis in axes], dtype=np.int64))


def unsettled(program: Program, node: NodeProto, name: str, arrays: Sequence[Array]) -> set[int]:
    """Axes of output ``name`` along which collapsed ``arrays`` may be different at other sizes than the probe's."""
    axes: set[int] = set()
    for axis, period in program.dynamic.get(name, {}).items():
        if not all(array.ndim == 0 or _repeats(array, axis, period) for array in arrays):
            axes.add(axis)
            if key(node) in RESHAPES:  # what is cut out of it, or merged with it, is different as well
                groups = factors(program.shapes[node.input[0]], program.shapes[name])
                axes.update(*(new for _, new in groups if axis in new))
    return axes


def _repeats(array: Array, axis: int, period: int) -> bool:
    """Whether elements along an axis are those of a ``period``, again and again."""
    size = array.shape[axis]
    if size == 1 or period == 0 or size % period:
        return bool(size == 1)
    apart = np.moveaxis(array, axis, 0).reshape(-1, period, *np.delete(array.shape, axis))
    return bool(np.all(apart == apart[:1]))


def touched(program: Program, node: NodeProto) -> set[int]:
    """Axes that the op does more to than carry along."""
    rank = len(program.shapes[node.input[0]])
    attribute = attributes(node)
    match key(node):
        case "Transpose":
            return set()
        case "Concat" | "Split" | "Gather":
            return {attribute.get("axis", 1 if key(node) == "Concat" else 0) % rank}  # Concat's before opset 4
        case "Slice":
            if "starts" in attribute:  # opset 1 to 9
                axes = attribute.get("axes", range(len(attribute["starts"])))
            else:
                known = program.known(node.input[3]) if len(node.input) > 3 and node.input[3] else None
                axes = range(rank) if known is None else known.ravel()
            return {int(axis) % rank for axis in axes}
        case _:
            return set(range(rank))


def trains(program: Program, node: NodeProto) -> bool:
    """Whether a Dropout may drop anything."""
    return len(node.input) > 2 and bool(node.input[2]) and program.known(node.input[2]) != np.False_


def cut_elsewhere(program: Program, node: NodeProto) -> set[int]:
    """Axes along which a Slice, Split or Pad may cut at other places for another input than the probe."""
    cuts = key(node) in ("Slice", "Split", "Pad") and not all(map(program.is_fixed, filter(None, node.input[1:])))
    return touched(program, node) if cuts else set()


def slice_steps(program: Program, node: NodeProto) -> Array:
    """Steps of a Slice, 1 where it names none; 0 stands for a step that is computed."""
    if len(node.input) < 5 or not node.input[4]:
        return np.ones(1, np.int64)
    known = program.known(node.input[4])
    return np.zeros(1, np.int64) if known is None else known


def _expand(array: Array, shape: Shape, axes: set[int]) -> Array:
    return np.broadcast_to(array, [shape[a] if a in axes else array.shape[a] for a in range(array.ndim)])


def _align(arrays: list[Array], touched: set[int]) -> list[Array]:
    rank = arrays[0].ndim
    wide = [max(array.shape[axis] for array in arrays) for axis in range(rank)]
    return [
        np.broadcast_to(array, [array.shape[axis] if axis in touched else wide[axis] for axis in range(rank)])
        for array in arrays
    ]


def _blocks(node: NodeProto, array: Array, before: Shape, after: Shape) -> Array:
    """Channels to blocks of pixels, or back: a transposition of their axes."""
    attribute = attributes(node)
    block, to_space = attribute["blocksize"], key(node) == "DepthToSpace"
    if np.prod(before) != np.prod(after):  # onnx's inference rounds
        raise ModelError(f"node {label(node)} has inconsistent shapes: {before} is not made of blocks of {block}")
    (batch, _, height, width), (_, channels, *_) = (before, after) if to_space else (after, before)
    if attribute.get("mode", b"DCR") == b"DCR":
        apart, order = (batch, block, block, channels, height, width), [0, 3, 4, 1, 5, 2]
    else:
        apart, order = (batch, channels, block, block, height, width), [0, 1, 4, 2, 5, 3]
    turned = tuple(apart[axis] for axis in order)
    if to_space:
        return reshape(reshape(array, before, apart).transpose(order), turned, after)
    return reshape(reshape(array, before, turned).transpose(np.argsort(order)), apart, after)
