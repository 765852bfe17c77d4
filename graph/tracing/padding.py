"""Pad: how wide it makes every axis, and what it makes of a collapsed array."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from graph.model.evaluate import Array, CannotEvaluate
from graph.model.program import Program, Shape, attributes


def paddings(program: Program, node: NodeProto) -> list[tuple[int, int]]:
    """Elements that Pad adds before and after each axis (negative ones crop).

    Raises:
        CannotEvaluate: they are computed from the input.
    """
    rank = len(program.shapes[node.input[0]])
    attribute = attributes(node)
    if "pads" in attribute or "paddings" in attribute:
        pads = list(attribute["pads"] if "pads" in attribute else attribute["paddings"])
    else:
        known = program.known(node.input[1])
        if known is None:
            raise CannotEvaluate("Pad: its widths are computed from the input")
        pads = [int(width) for width in known.ravel()]
    axes = list(range(rank))
    if len(node.input) > 3 and node.input[3]:
        chosen = program.known(node.input[3])
        if chosen is None:
            raise CannotEvaluate("Pad: its axes are computed from the input")
        axes = [int(axis) % rank for axis in chosen.ravel()]
    widths = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        widths[axis] = (pads[place], pads[place + len(axes)])
    return widths


def pad(program: Program, node: NodeProto, array: Array, shape: Shape, fill: Array) -> Array:
    """What Pad makes of a collapsed array.

    It is padded along the axes that vary; along the others the padded elements count as their row's.

    Args:
        program: the model.
        node: a Pad.
        array: in place of its input, collapsed.
        shape: the full one of its input.
        fill: what it writes: a scalar, or one value for each of the padded channels in a row.

    Raises:
        CannotEvaluate: its widths are computed from the input, or it copies channels.
    """
    constant = attributes(node).get("mode", b"constant") == b"constant"
    for axis, (before, after) in enumerate(paddings(program, node)):
        if (array.shape[axis] == 1 and shape[axis] != 1) or not (before or after):
            continue
        if not constant:  # a copy of channels, of which some may leave and some stay
            raise CannotEvaluate("Pad: with copies of channels")
        array = np.broadcast_to(array, [shape[a] if a == axis else n for a, n in enumerate(array.shape)])
        keep = array.take(range(max(-before, 0), array.shape[axis] - max(-after, 0)), axis)
        if before + after + array.shape[axis] != keep.shape[axis] + max(before, 0) + max(after, 0):
            raise CannotEvaluate("Pad: it crops more than there is")
        blocks = [_filled(keep, axis, before, fill, 0), keep, _filled(keep, axis, after, fill, max(before, 0))]
        array = np.concatenate([block for block in blocks if block.shape[axis]], axis)
    return array


def _filled(like: Array, axis: int, count: int, fill: Array, offset: int) -> Array:
    shape = [max(count, 0) if a == axis else n for a, n in enumerate(like.shape)]
    if fill.ndim == 0:
        return np.full(shape, fill, like.dtype)
    block = fill.ravel()[offset : offset + shape[axis]]
    return np.broadcast_to(block.reshape([-1 if a == axis else 1 for a in range(like.ndim)]), shape)
