"""Sizes, bounds and indices that nodes carry themselves, as they must read once channels are gone.

One small function per op, from (node, what it knows of the axes before and after) to new attributes and integer inputs.
Constants are replaced per node: exporters share them between nodes that will need different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto

from graph.model.evaluate import Array
from graph.model.program import Program, Shape, attributes
from graph.tracing.padding import paddings
from graph.values import Mask


@dataclass
class Patch:
    """New values for a node.

    Attributes:
        inputs: integer constants by input slot.
        attributes: by name; ``None`` removes one.
    """

    inputs: dict[int, Array] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """A node and what its tensors keep: ``kept(slot, axis)`` and ``kept_out(output, axis)`` are boolean vectors."""

    program: Program
    node: NodeProto
    kept: Callable[[int, int], Mask]
    kept_out: Callable[[int, int], Mask]

    @property
    def shape(self) -> Shape:
        """Full shape of the first input."""
        return self.program.shapes[self.node.input[0]]

    @property
    def out_shape(self) -> Shape:
        """Full shape of the first output."""
        return self.program.shapes[self.node.output[0]]

    def constant(self, slot: int) -> Array | None:
        """The constant in an input slot, if there is one."""
        name = self.node.input[slot] if slot < len(self.node.input) else ""
        return self.program.constants.get(name)


PATCHES: dict[str, Callable[[Context], Patch]] = {}


def patch(*ops: str) -> Callable[[Callable[[Context], Patch]], Callable[[Context], Patch]]:
    """Decorator that files a function under the ops that it rewrites."""

    def file(function: Callable[[Context], Patch]) -> Callable[[Context], Patch]:
        PATCHES.update(dict.fromkeys(ops, function))
        return function

    return file


@patch("Reshape")
def _reshape(context: Context) -> Patch:
    target = context.constant(1)
    if target is None:
        return Patch()
    new = target.copy()
    copies = not attributes(context.node).get("allowzero", 0)
    for axis, size in enumerate(target):
        count = int(context.kept_out(0, axis).sum())
        same = size == 0 and copies and int(context.kept(0, axis).sum()) == count
        if size != -1 and not same and count != context.out_shape[axis]:
            new[axis] = count
    return Patch(inputs={1: new})


@patch("Squeeze")
def _squeeze(context: Context) -> Patch:
    """Without axes it takes all of size 1, which must not be one that has a single channel left."""
    before, sizes = context.shape, [int(context.kept(0, axis).sum()) for axis in range(len(context.shape))]
    if "axes" in attributes(context.node) or any(context.node.input[1:]) or sizes.count(1) == before.count(1):
        return Patch()
    axes = [axis for axis, size in enumerate(before) if size == 1]
    if context.program.opset < 13:
        return Patch(attributes={"axes": axes})
    return Patch(inputs={1: np.array(axes, np.int64)})


@patch("Expand")
def _expand(context: Context) -> Patch:
    target = context.constant(1)
    if target is None:
        return Patch()
    offset = len(context.out_shape) - len(target)
    counts = [int(context.kept_out(0, axis + offset).sum()) for axis in range(len(target))]
    return Patch(inputs={1: np.where(target == 1, 1, np.array(counts, target.dtype))})


@patch("Split")
def _split(context: Context) -> Patch:
    axis = attributes(context.node).get("axis", 0) % len(context.shape)
    names = [name for name in context.node.output if name]
    sizes = [int(context.kept_out(place, axis).sum()) for place in range(len(names))]
    if sizes == [context.program.shapes[name][axis] for name in names]:
        return Patch()
    given = "split" in attributes(context.node) or any(context.node.input[1:])
    share = -(-sum(sizes) // len(sizes))
    whole = context.program.opset >= 18 or sum(sizes) % len(sizes) == 0
    if not given and whole and sizes == [min(share, sum(sizes) - share * place) for place in range(len(sizes))]:
        return Patch()  # in equal parts, of which the last may be smaller
    if context.program.opset < 13:
        return Patch(attributes={"split": sizes})
    return Patch(inputs={1: np.array(sizes, np.int64)}, attributes={"num_outputs": None})


@patch("Slice")
def _slice(context: Context) -> Patch:
    attribute, rank = attributes(context.node), len(context.shape)
    old_style = "starts" in attribute
    starts = np.array(attribute["starts"]) if old_style else context.constant(1)
    ends = np.array(attribute["ends"]) if old_style else context.constant(2)
    if starts is None or ends is None:
        return Patch()
    axes: Sequence[int] = attribute.get("axes", range(len(starts))) if old_style else range(len(starts))
    if not old_style and (chosen := context.constant(3)) is not None:
        axes = [int(axis) for axis in chosen]
    new_starts, new_ends = starts.copy(), ends.copy()
    for place, axis in enumerate(axes):
        kept = context.kept(0, axis % rank)
        if not kept.all():
            first, last, _ = slice(int(starts[place]), int(ends[place])).indices(kept.size)
            new_starts[place], new_ends[place] = kept[:first].sum(), kept[:last].sum()
    if old_style:
        return Patch(attributes={"starts": new_starts.tolist(), "ends": new_ends.tolist()})
    return Patch(inputs={1: new_starts, 2: new_ends})


@patch("Gather")
def _gather(context: Context) -> Patch:
    indices = context.constant(1)
    axis = attributes(context.node).get("axis", 0) % len(context.shape)
    kept = context.kept(0, axis)
    if indices is None or (kept.all() and all(context.kept_out(0, axis + a).all() for a in range(indices.ndim))):
        return Patch()
    new = np.where(indices < 0, indices + kept.size, indices)
    for place in range(indices.ndim):
        new = new.compress(context.kept_out(0, axis + place), place)
    return Patch(inputs={1: (np.cumsum(kept) - 1)[new].astype(indices.dtype)})


@patch("Pad")
def _pad(context: Context) -> Patch:
    new = []
    for axis, (before, after) in enumerate(paddings(context.program, context.node)):
        kept, kept_out = context.kept(0, axis), context.kept_out(0, axis)
        low = -int(kept[:-before].sum()) if before < 0 else int(kept_out[:before].sum())
        high = -int(kept[after:].sum()) if after < 0 else int(kept_out[kept_out.size - after :].sum())
        new.append((low, high))
    if new == paddings(context.program, context.node):
        return Patch()
    pads = [low for low, _ in new] + [high for _, high in new]
    if "pads" in attributes(context.node):
        return Patch(attributes={"pads": pads})
    chosen = context.constant(3)
    if chosen is not None:
        axes = [int(axis) % len(context.shape) for axis in chosen]
        pads = [new[axis][0] for axis in axes] + [new[axis][1] for axis in axes]
    return Patch(inputs={1: np.array(pads, np.int64)})
