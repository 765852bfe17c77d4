"""Channel classes: what an outsider may zero as one, so that `shrink` removes it.

A class is a set of hyperplanes, over all coupled tensors, that go together or not at all. The compiler offers those
that nothing but their values keeps. A criterion gives every class a score, a budget says how many may stay, and the
rest is zeroed: rows of weights, biases, scales and shifts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from graph.files.copies import complete, skeleton
from graph.model.evaluate import Array
from graph.model.program import Program, key
from graph.model.quantised import parts, quantised
from graph.rewriting.write import names_taken, write_constants
from graph.shrink import Analysis
from graph.tracing.channels import Channels
from graph.tracing.planes import Axis, Choice
from graph.tracing.trace import Groups, Site, Trace, Use, name_of
from graph.values import Mask

Scores = NDArray[np.float64]

FLOOR = 0.05  # of every family of classes stays, and one at least
STATISTICS = {  # inputs that make no output of a channel that has no scale, or are no factors
    "BatchNormalization": (3, 4),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "Attention": (3,),
}
ADDED = {"Add", "Sub", "Mul"}  # a zero operand there makes a zero, or leaves the other operand as it is


@dataclass(frozen=True)
class Maker:
    """An axis of a use of a constant whose entries make the channels of ``classes``; -1 is no offered class."""

    use: Use
    axis: int
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Offer:
    """The channel classes of one graph, numbered from 0.

    Attributes:
        program: the graph.
        family: per class, the number of its family: classes that the same constants make.
        makers: the constants that make them.
        planes: per axis that can lose anything, the class of every index; -1 is none.
    """

    program: Program
    family: NDArray[np.int64]
    makers: list[Maker]
    planes: dict[Axis, NDArray[np.int64]]

    def tensors(self) -> list[list[str]]:
        """Per family the constants that make it, as ``name[axis]``, once per use."""
        found: list[list[str]] = [[] for _ in range(int(self.family.max(initial=-1)) + 1)]
        for maker in self.makers:
            for number in np.unique(self.family[maker.classes[maker.classes >= 0]]):
                found[number].append(f"{name_of(self.program, maker.use)}[{maker.axis}]")
        return found

    def reduce(self, measure: Callable[[Array], Array]) -> Scores:
        """As `Classes.reduce`."""
        total = np.zeros(self.family.size)
        for maker in self.makers:
            array = self.program.constants[name_of(self.program, maker.use)].astype(np.float64)
            rows = measure(array).sum(tuple(a for a in range(array.ndim) if a != maker.axis))
            offered = maker.classes >= 0
            np.add.at(total, maker.classes[offered], rows[offered])
        return total

    def zeros(self, chosen: Mask) -> dict[Use, Array]:
        """New values of the constants that make ``chosen`` classes [classes, bool]."""
        constants: dict[Use, Array] = {}
        stored = quantised(self.program)
        for maker in self.makers:
            rows = (maker.classes >= 0) & chosen[maker.classes]
            for part in parts(stored, maker.use, maker.axis + 1) if rows.any() else []:
                if part.zero is not None:
                    if part.use not in constants:
                        constants[part.use] = self.program.constants[name_of(self.program, part.use)].copy()
                    array = constants[part.use]
                    at = (slice(None),) * part.axes.index(maker.axis) + (rows,)
                    array[at] = np.broadcast_to(part.zero, array.shape)[at]
        return constants


@dataclass(frozen=True)
class Classes:
    """The channel classes that a model offers, numbered from 0: one graph's after the other's.

    Attributes:
        analysis: what is known of the model.
        offers: what each of its graphs offers, in the order of `Analysis.within`.
    """

    analysis: Analysis
    offers: list[Offer]

    def __len__(self) -> int:
        return self.family.size

    @cached_property
    def family(self) -> NDArray[np.int64]:
        """Per class, the number of its family."""
        starts = np.cumsum([0, *(offer.family.max(initial=-1) + 1 for offer in self.offers)])
        return np.concatenate([offer.family + start for offer, start in zip(self.offers, starts, strict=False)])

    def reduce(self, measure: Callable[[Array], Array]) -> Scores:
        """Sum over all weights that make a class of ``measure``, an element-wise function."""
        return np.concatenate([offer.reduce(measure) for offer in self.offers])

    def zeroed(self, chosen: Mask, fitted: Mapping[Use, Array] | None = None) -> ModelProto:
        """A copy of the model in which the ``chosen`` classes [classes, bool] are zero, and other constants as given.

        Args:
            chosen: classes.
            fitted: new values of uses of constants of the outermost graph, which take the place of zeroed ones.
        """
        copy = skeleton(self.analysis.program.model)
        taken = names_taken(copy.graph)
        ends = np.cumsum([offer.family.size for offer in self.offers])
        graphs = zip(self.offers, np.split(chosen, ends[:-1]), self.analysis.within(copy.graph), strict=True)
        for offer, own, (_, graph) in reversed(list(graphs)):  # a graph inside a node before the one around it
            program = offer.program
            constants = offer.zeros(own) | (dict(fitted or {}) if offer is self.offers[0] else {})
            write_constants(program, graph, program.matching(graph), constants, taken)
        return complete(copy, self.analysis.program.model)

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
    """The channel classes that ``analysis`` offers, those of the graphs inside nodes included."""
    return Classes(analysis, [offer(each) for each, _ in analysis.within(analysis.program.graph)])


def offer(analysis: Analysis) -> Offer:
    """The channel classes of one graph."""
    program, trace, choice = analysis.program, analysis.trace, analysis.offered()
    channels = Channels(trace, choice.planes, through_edges=True, units=True)
    making = _making(program, trace, choice)
    able = np.zeros(channels.count, np.bool_)
    for use, _, axis in making:
        if use not in trace.follows or _born(program, trace, use, axis):
            able[channels.labels[axis]] = True
    for axis, plane in choice.planes.items():
        able[channels.labels[axis][~plane.gone]] = False
    for groups in trace.groups:
        if groups.outputs in channels.labels and not _has_rows(program, groups):
            able[channels.labels[groups.outputs]] = False
    for site in trace.ids:
        for place in _overlapping(trace, site):
            able[channels.labels[site, place]] = False
    numbers = np.where(able, np.cumsum(able) - 1, -1)
    planes = {axis: numbers[own] for axis, own in channels.labels.items()}
    makers = [Maker(use, place, planes[axis]) for use, place, axis in making if (planes[axis] >= 0).any()]
    return Offer(program, _families(makers, int(np.count_nonzero(able))), makers, planes)


def _families(makers: list[Maker], count: int) -> NDArray[np.int64]:
    """A number per class, equal for classes that the same axes make; where one joins what others make, all differ."""
    makes = np.zeros((len(makers), count), np.bool_)
    for maker, row in zip(makers, makes, strict=True):
        row[maker.classes[maker.classes >= 0]] = True
    _, firsts, family = np.unique(np.packbits(makes, axis=0), axis=1, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(firsts))[family]  # in the order of the classes


def _born(program: Program, trace: Trace, use: Use, axis: Axis) -> bool:
    """Whether nothing but constants makes channels along ``axis``, as no bias does."""
    rank = len(trace.shapes[axis[0]])
    others = [program.shapes[name] for name in program.nodes[use[0]].input if name in trace.ids]
    return all(rank - len(shape) > axis[1] or shape[axis[1] - rank + len(shape)] == 1 for shape in others)


def _has_rows(program: Program, groups: Groups) -> bool:
    """Whether the weight has an axis of all output channels, as Conv's has and ConvTranspose's has not."""
    return key(program.nodes[groups.node]) == "Conv"


def _overlapping(trace: Trace, site: Site) -> list[int]:
    """Axes whose hyperplanes have ids in common, as where a constant lies beside what is the same along the axis."""
    ids, varying = trace.ids[site], trace.varying(site)
    count = np.unique(ids).size if len(varying) > 1 else ids.size
    if count == ids.size:
        return []
    places = [np.broadcast_to(each, ids.shape).ravel() for each in np.ogrid[tuple(map(slice, ids.shape))]]
    return [axis for axis in varying if np.unique([ids.ravel(), places[axis]], axis=1).shape[1] > count]


def _making(program: Program, trace: Trace, choice: Choice) -> list[tuple[Use, int, Axis]]:
    """Axes of constants that make channels, with the plane that has these channels."""
    found: list[tuple[Use, int, Axis]] = [
        (site, axis, (site, axis))
        for site, axis in choice.planes
        if isinstance(site, tuple)
        and site not in trace.edges
        and (site, axis) not in trace.summed
        and site[1] not in STATISTICS.get(key(program.nodes[site[0]]), ())
        and program.constants[name_of(program, site)].dtype.kind not in "iub"  # places, not values
    ]
    for use, out in trace.follows.items():
        shape, rank = program.shapes[name_of(program, use)], len(program.shapes[out])
        for axis, size in enumerate(shape):
            plane = out, axis + rank - len(shape)
            if size > 1 and plane in choice.planes and key(program.nodes[use[0]]) in ADDED:
                found.append((use, axis, plane))
    return found
