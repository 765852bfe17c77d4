"""Masks that make channel classes zero as data: where they have to be multiplied in, and which classes are alike.

`Classes.zeroed` writes zeros into constants, so every choice is another model. The same zeros can be multiplied in
behind the nodes whose constants make the channels, and then every row of a batch may have a choice of its own; see
`halves`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from graph.candidates.classes import ADDED, Classes, Maker, Offer
from graph.model.evaluate import Array, CannotEvaluate
from graph.model.program import Program, key
from graph.rewriting.write import names_taken, unused
from graph.tracing.rules import elementwise, signature
from graph.tracing.signature import OPAQUE
from graph.tracing.trace import Use, name_of
from graph.values import Mask

Labels = NDArray[np.int64]

#: Ops that give zero where a factor and the term are zero, with the input slot of the term.
TERMS = {
    "BatchNormalization": 2,
    "Conv": 2,
    "ConvTranspose": 2,
    "Einsum": None,
    "Gemm": 2,
    "InstanceNormalization": 2,
    "MatMul": None,
}


@dataclass(frozen=True)
class Place:
    """Where a mask is multiplied in.

    Attributes:
        tensor: that is multiplied: an activation, or a constant.
        axis: of its channels in the mask.
        rank: of the mask.
        classes: per channel its class; -1 where no mask applies.
        dtype: of the tensor.
        use: the node and input slot that reads a constant; None for an activation, whose readers all see zeros.
        by_row: the mask may differ from row to row.
        name: of the input that takes the mask.
        masked: name of the product.
    """

    tensor: str
    axis: int
    rank: int
    classes: Labels
    dtype: np.dtype[Any]
    use: Use | None = None
    by_row: bool = True
    name: str = ""
    masked: str = ""

    def mask(self, gone: Mask) -> Array:
        """What to feed: ones and zeros [rows, 1, ..., channels, ..., 1] for classes gone [rows, classes]."""
        chosen = gone[:, self.classes] & (self.classes >= 0)
        shape = [chosen.shape[1] if axis == self.axis else 1 for axis in range(self.rank)]
        if self.axis:
            shape[0] = len(gone)
        return (~chosen).astype(self.dtype).reshape(shape)


def alike(classes: Classes) -> list[Mask]:
    """Classes that as many entries of the same constants make, in the order of the network, as masks [classes]."""
    keys: list[list[tuple[Use, int, int]]] = [[] for _ in range(len(classes))]
    start = 0
    for offer in classes.offers:
        for maker in sorted(offer.makers, key=lambda maker: maker.use):
            counts = np.bincount(maker.classes[maker.classes >= 0], minlength=offer.family.size)
            for each in np.flatnonzero(counts):
                keys[start + each].append((maker.use, maker.axis, int(counts[each])))
        start += offer.family.size
    whose = np.repeat(np.arange(len(classes.offers)), [offer.family.size for offer in classes.offers]).tolist()
    found: dict[tuple[int, tuple[tuple[Use, int, int], ...]], list[int]] = {}
    for place, own in enumerate(zip(whose, map(tuple, keys), strict=True)):
        found.setdefault(own, []).append(place)
    return [np.isin(np.arange(len(classes)), found[each]) for each in sorted(found)]


def places(offer: Offer, members: Mask) -> list[Place] | None:
    """Masks that make ``members`` [classes of the offer, bool] zero; None if one constant needs two.

    They apply behind the nodes whose constants make the classes, or on the constants where that is not the same, and
    from there as late as possible.
    """
    program = offer.program
    found = _first_places(offer, members)
    if len({place.use or place.tensor for place in found}) < len(found):
        return None
    taken = names_taken(program.graph)
    named = []
    for place in _moved(program, found):
        mask, product = (unused(f"{place.tensor}_{what}", taken) for what in ("mask", "masked"))
        named.append(replace(place, name=mask, masked=product))
    return named


def has_rows(program: Program, name: str) -> bool:
    """Whether the first axis of a tensor is that of the samples."""
    shape = program.shapes.get(name, ())
    return bool(shape) and 0 in program.dynamic.get(name, {}) and shape[0] == program.probe[0]


def _first_places(offer: Offer, members: Mask) -> list[Place]:
    """Behind the nodes that makers of ``members`` belong to; on the constants themselves where that is not the same."""
    program = offer.program
    makers: dict[int, list[Maker]] = {}
    for maker in offer.makers:
        own = np.where((maker.classes >= 0) & members[maker.classes], maker.classes, -1)
        if (own >= 0).any():
            makers.setdefault(maker.use[0], []).append(replace(maker, classes=own))
    found: list[Place] = []
    for index, each in makers.items():
        behind = _behind_node(program, index, each)
        found += [behind] if behind is not None else [_before_node(program, maker) for maker in each]
    return found


def _behind_node(program: Program, index: int, makers: Sequence[Maker]) -> Place | None:
    """A mask for the output of a node, if its constants alone decide that a channel of it is zero."""
    node = program.nodes[index]
    rule = signature(program, node)
    if key(node) not in TERMS or rule is None or len(node.output) != 1:
        return None
    slot, out = TERMS[key(node)], rule.outputs[0]
    factor: dict[int, Labels] = {}
    term: dict[int, Labels] = {}
    for maker in makers:
        letter = rule.operands[maker.use[1]][maker.axis]
        if letter == OPAQUE or letter not in out:
            return None
        kind, axis = term if maker.use[1] == slot else factor, out.index(letter)
        kind[axis] = np.maximum(kind.get(axis, np.int64(-1)), maker.classes)
    if len(factor) != 1:
        return None
    ((axis, labels),) = factor.items()
    has_term = slot is not None and len(node.input) > slot and bool(node.input[slot])
    if has_term and (term.keys() != {axis} or not np.array_equal(term[axis], labels)):
        return None
    dtype = program.constants[name_of(program, makers[0].use)].dtype
    return Place(node.output[0], axis, len(out), labels, dtype, by_row=_by_row(program, node.output[0], axis))


def _before_node(program: Program, maker: Maker) -> Place:
    """A mask for a constant: for all rows alike, but for a term or factor of an element-wise op."""
    name, node = name_of(program, maker.use), program.nodes[maker.use[0]]
    rank, dtype = len(program.shapes[name]), program.constants[name].dtype
    if key(node) not in ADDED:
        return Place(name, maker.axis, rank, maker.classes, dtype, maker.use, by_row=False)
    out = node.output[0]
    full = len(program.shapes[out])
    axis = maker.axis + full - rank
    return Place(name, axis, full, maker.classes, dtype, maker.use, by_row=_by_row(program, out, axis))


def _moved(program: Program, places: Iterable[Place]) -> list[Place]:
    """Masks as late as possible: behind activations that keep zeros, and one for several in a row."""
    on = {place.tensor: place for place in places if place.use is None}
    constants = {place.use: place for place in places if place.use is not None}
    for index, node in enumerate(program.nodes):
        ours = [on[name] for name in dict.fromkeys(node.input) if name in on]
        only = [each for each in ours if program.consumers[each.tensor] == [index]]
        if not only or len(node.output) > 1:
            continue
        out = node.output[0]
        if out in on:
            if len(ours) == 1 and _keeps(program, node, ours[0], on[out]):
                del on[ours[0].tensor]
        elif elementwise(program, node):
            moved = _behind_elementwise(program, out, ours[0])
            terms = [constants.get((index, slot)) for slot in range(len(node.input))]
            alike = [_same(program, out, each, moved) for each in [*ours, *filter(None, terms)]]
            if all(alike) and _zero_of_zero(program, node, ours, terms):
                on |= {out: moved}
                for each in only:
                    del on[each.tensor]
                for slot in range(len(node.input)):
                    constants.pop((index, slot), None)
    return [*on.values(), *constants.values()]


def _behind_elementwise(program: Program, out: str, place: Place) -> Place:
    """The mask of an operand of an element-wise node, for its output."""
    rank = len(program.shapes[out])
    axis = place.axis + rank - place.rank
    return replace(place, tensor=out, axis=axis, rank=rank, by_row=_by_row(program, out, axis))


def _same(program: Program, out: str, one: Place, other: Place) -> bool:
    """Whether two masks make the same channels of ``out`` zero."""
    axis = one.axis + len(program.shapes[out]) - one.rank
    return axis == other.axis and np.array_equal(one.classes, other.classes)


def _keeps(program: Program, node: NodeProto, before: Place, after: Place) -> bool:
    """Whether each channel of a node's output, which has the same mask, depends on the same channel of its input."""
    rule = signature(program, node)
    if rule is None or list(node.input).count(before.tensor) > 1 or not np.array_equal(before.classes, after.classes):
        return False
    letter = rule.operands[list(node.input).index(before.tensor)][before.axis]
    return letter != OPAQUE and letter == rule.outputs[0][after.axis]


def _zero_of_zero(program: Program, node: NodeProto, zeros: Sequence[Place], masked: Sequence[Place | None]) -> bool:
    """Whether an element-wise node makes zeros of the activations ``zeros`` and of constants that are ``masked``."""
    ranks = {place.tensor: place.rank for place in zeros}
    inputs: list[Array | None] = []
    for name, mask in zip(node.input, masked, strict=True):
        if name in ranks:
            inputs.append(np.zeros((1,) * ranks[name], zeros[0].dtype))
        elif name in program.constants:
            inputs.append(program.constants[name] * (mask is None))
        elif name:
            return False
        else:
            inputs.append(None)
    try:
        (found,) = program.evaluate(node, inputs)
        return found.dtype == zeros[0].dtype and not found.any()
    except CannotEvaluate:
        return False


def _by_row(program: Program, name: str, axis: int) -> bool:
    """Whether a tensor has a row for every sample, and channels along another axis."""
    return axis > 0 and has_rows(program, name)
