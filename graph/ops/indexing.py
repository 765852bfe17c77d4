"""Picking and placing by index: axes that an index runs along are mixed, channels along the others stay apart."""

from __future__ import annotations

from onnx import NodeProto

from graph.model.program import Program, attributes
from graph.tracing.rules import along, signature_rule
from graph.tracing.signature import OPAQUE, Signature
from graph.values import Known, Values, carry, value_rule


@signature_rule("Gather")
def gather(program: Program, node: NodeProto) -> Signature:
    """With computed indices any rows of the data. An embedding's table makes its channels here."""
    data, indices = (program.shapes[name] for name in node.input)
    axis = attributes(node).get("axis", 0) % len(data)
    letters = _letters(len(data), {axis})
    places = (OPAQUE,) * len(indices)
    return Signature((letters, places), ((*letters[:axis], *places, *letters[axis + 1 :]),))


@signature_rule("GatherND")
def gather_nd(program: Program, node: NodeProto) -> Signature:
    """Blocks of the data: its last axes stay what they are."""
    data, indices = (program.shapes[name] for name in node.input)
    picked = attributes(node).get("batch_dims", 0) + indices[-1]
    letters = _letters(len(data), set(range(picked)))
    return Signature((letters, (OPAQUE,) * len(indices)), ((*(OPAQUE,) * (len(indices) - 1), *letters[picked:]),))


@signature_rule("ScatterND")
def scatter_nd(program: Program, node: NodeProto) -> Signature:
    """Blocks into the data: its last axes stay what they are."""
    data, indices, _ = (program.shapes[name] for name in node.input)
    letters = _letters(len(data), set(range(indices[-1])))
    updates = (*(OPAQUE,) * (len(indices) - 1), *letters[indices[-1] :])
    return Signature((letters, (OPAQUE,) * len(indices), updates), (letters,))


@signature_rule("GatherElements", "Scatter", "ScatterElements")
def elements(program: Program, node: NodeProto) -> Signature:
    """One index per element: mixes its axis, and those along which not all tensors are as long."""
    every = [program.shapes[name] for name in node.input]
    axis = attributes(node).get("axis", 0) % len(every[0])
    uneven = {place for place, sizes in enumerate(zip(*every, strict=True)) if len(set(sizes)) > 1}
    letters = _letters(len(every[0]), {axis} | uneven)
    return Signature((letters,) * len(every), (letters,))


@signature_rule("TensorScatter")
def tensor_scatter(program: Program, node: NodeProto) -> Signature:
    """A cache with new entries along one axis, at a place per sample."""
    rank = len(program.shapes[node.input[0]])
    letters = _letters(rank, {0, attributes(node).get("axis", -2) % rank})
    return Signature((letters, letters, (OPAQUE,))[: len(node.input)], (letters,))


@signature_rule("TopK")
def top_k(program: Program, node: NodeProto) -> Signature:
    """Sorts along one axis (the last one by default)."""
    return along(program, node, {_axis(program, node, "axis", -1)})


@signature_rule("ReverseSequence")
def reverse_sequence(program: Program, node: NodeProto) -> Signature:
    """Turns the beginning of every sequence around."""
    return along(program, node, {_axis(program, node, "batch_axis", 1), _axis(program, node, "time_axis", 0)})


@signature_rule("Trilu")
def trilu(program: Program, node: NodeProto) -> Signature:
    """Zeros beside a diagonal of the last two axes."""
    rank = len(program.shapes[node.input[0]])
    return along(program, node, {rank - 2, rank - 1})


@signature_rule("CenterCropPad")
def center_crop_pad(program: Program, node: NodeProto) -> Signature:
    """Cuts, or surrounds with zeros, the axes that it names (all by default)."""
    rank = len(program.shapes[node.input[0]])
    return along(program, node, {axis % rank for axis in attributes(node).get("axes", range(rank))})


@value_rule("Gather", "GatherElements", "GatherND", "ReverseSequence", "TopK")
def _picked(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Whatever is the same all along an axis is the same in any order, and in any part."""
    return carry(values, node, found)


@value_rule("CenterCropPad", "Trilu")
def _among_zeros(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Zeros among zeros."""
    return carry(values, node, found, zero_only=True)


@value_rule("Scatter", "ScatterElements", "ScatterND")
def _placed(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Zero where the data are and everything that is placed there."""
    return carry(values, node, found, zero_only=True, slots=(0, 2))


@value_rule("TensorScatter")
def _cached(values: Values, node: NodeProto, found: Signature) -> Known | None:
    """Zero where the cache is and everything that is added to it."""
    return carry(values, node, found, zero_only=True, slots=(0, 1))


def _letters(rank: int, mixed: set[int]) -> tuple[str, ...]:
    return tuple(OPAQUE if axis in mixed else f"a{axis}" for axis in range(rank))


def _axis(program: Program, node: NodeProto, name: str, default: int) -> int:
    axis: int = attributes(node).get(name, default) % len(program.shapes[node.input[0]])
    return axis
