"""Channel classes: what an outsider may zero as one, so that `shrink` removes it.

A class is a set of hyperplanes, over all coupled tensors, that go together or not at all. The compiler offers those
that nothing but their values keeps. A criterion gives every class a score, a budget says how many may stay, and the
rest is zeroed: rows of weights, biases, scales and shifts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from graph.channels import Channels
from graph.evaluate import Array
from graph.planes import Choice
from graph.program import Program, key
from graph.reads import name_of
from graph.shrink import Analysis
from graph.trace import Groups, Trace, Use
from graph.values import Mask
from graph.write import write_constants

Scores = NDArray[np.float64]

FLOOR = 0.05  # of every family of classes stays, and one at least
STATISTICS = {"BatchNormalization": (3, 4)}  # running mean and variance make no output of a channel that has no scale
ADDED = {"Add", "Sub", "Mul"}  # a zero operand there makes a zero, or leaves the other operand as it is


@dataclass(frozen=True)
class Maker:
    """An axis of a use of a constant whose entries make the channels of ``classes``; -1 is no offered class."""

    use: Use
    axis: int
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Classes:
    """The channel classes that a model offers, numbered from 0.

    Attributes:
        family: per class, the number of its family: classes that differ only by their index.
        makers: the constants that make them.
    """

    program: Program
    family: NDArray[np.int64]
    makers: list[Maker] = field(default_factory=list)

    def __len__(self) -> int:
        return self.family.size

    def reduce(self, measure: Callable[[Array], Array]) -> Scores:
        """Sum over all weights that make a class of ``measure``, an element-wise function."""
        total = np.zeros(len(self))
        for maker in self.makers:
            array = self.program.constants[name_of(self.program, maker.use)].astype(np.float64)
            rows = measure(array).sum(tuple(a for a in range(array.ndim) if a != maker.axis))
            offered = maker.classes >= 0
            np.add.at(total, maker.classes[offered], rows[offered])
        return total

    def zeroed(self, chosen: Mask) -> ModelProto:
        """A copy of the model in which the ``chosen`` classes [classes, bool] are zero."""
        constants: dict[Use, Array] = {}
        for maker in self.makers:
            rows = (maker.classes >= 0) & chosen[maker.classes]
            if rows.any():
                array = constants.get(maker.use)
                if array is None:
                    array = self.program.constants[name_of(self.program, maker.use)].copy()
                array[(slice(None),) * maker.axis + (rows,)] = 0
                constants[maker.use] = array
        model = ModelProto()
        model.CopyFrom(self.program.model)
        nodes = {tuple(node.output): node for node in model.graph.node}
        write_constants(self.program, model, [nodes[tuple(node.output)] for node in self.program.nodes], constants)
        return model

    def weakest(self, scores: Scores, count: int, floor: float = FLOOR) -> Mask:
        """The ``count`` classes with the smallest scores [classes] that leave every family its floor."""
        protected = np.zeros(len(self), np.bool_)
        order = np.argsort(scores, kind="stable")
        for number in np.unique(self.family):
            members = order[self.family[order] == number]
            protected[members[members.size - max(1, int(np.ceil(floor * members.size))) :]] = True
        chosen = np.zeros(len(self), np.bool_)
        chosen[order[~protected[order]][:count]] = True
        return chosen


def classes(analysis: Analysis) -> Classes:
    """The channel classes that ``analysis`` offers."""
    program, trace, choice = analysis.program, analysis.trace, analysis.offered()
    channels = Channels(trace, choice.planes, through_edges=True, balanced=True)
    blocked = [channels.labels[axis][~plane.gone] for axis, plane in choice.planes.items()]
    blocked += [channels.labels[groups.outputs] for groups in trace.groups if not _has_rows(program, groups)]
    bad = np.unique(np.concatenate([*blocked, np.zeros(0, np.int64)]))
    offered = [np.setdiff1d(channels.labels[axis], bad) for axis in choice.planes]
    labels = np.unique(np.concatenate([*offered, np.zeros(0, np.int64)]))
    family = np.zeros(labels.size, np.int64)
    for plane, own in channels.labels.items():
        family[np.searchsorted(labels, np.intersect1d(own, labels))] = channels.family[plane]
    found = Classes(program, np.unique(family, return_inverse=True)[1])
    for use, axis, own in _making(program, trace, choice, channels):
        place = np.searchsorted(labels, own)
        known = (
            (place < labels.size) & (labels[np.minimum(place, max(labels.size - 1, 0))] == own) if labels.size else None
        )
        if known is not None and known.any():
            found.makers.append(Maker(use, axis, np.where(known, place, -1)))
    return found


def _has_rows(program: Program, groups: Groups) -> bool:
    """Whether the weight has an axis of all output channels, as Conv's has and ConvTranspose's has not."""
    return key(program.nodes[groups.node]) == "Conv"


def _making(
    program: Program, trace: Trace, choice: Choice, channels: Channels
) -> list[tuple[Use, int, NDArray[np.int64]]]:
    """Axes of constants that make channels, with the channel of every index."""
    summed = {end for read in trace.reads for end in (read.left, read.right)}
    found = [
        (site, axis, channels.labels[site, axis])
        for site, axis in choice.planes
        if isinstance(site, tuple)
        and site not in trace.edges
        and (site, axis) not in summed
        and site[1] not in STATISTICS.get(key(program.nodes[site[0]]), ())
    ]
    for use, out in trace.follows.items():
        shape, rank = program.shapes[name_of(program, use)], len(program.shapes[out])
        for axis, size in enumerate(shape):
            plane = out, axis + rank - len(shape)
            if size > 1 and plane in choice.planes and key(program.nodes[use[0]]) in ADDED:
                found.append((use, axis, channels.labels[plane]))
    return found
