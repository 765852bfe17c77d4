"""Which rows are where: what every tensor keeps, and what is gathered before a node that reads fewer."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from graph.errors import ModelError
from graph.model.nodes import key, label
from graph.rows.facts import Place, RowTrace
from graph.rows.needs import Keep, Needs, kept, needs
from graph.tracing.movement import touched
from graph.tracing.rules import executed
from graph.tracing.trace import Site
from graph.values import Mask


class Plan:
    """Data movement costs little and keeps what it gets; whatever computes gathers the rows that it makes.

    Attributes:
        actual: rows [count, bool] that are there at every place.
        gathers: by node and place, the rows that the node reads, if these are fewer.

    Raises:
        ModelError: an attention shall keep fewer rows, and they lie so that they cannot be gathered.
    """

    def __init__(self, trace: RowTrace, keep: Keep) -> None:
        self.trace, self.program, self.kept = trace, trace.program, kept(trace, keep)
        while held := self.settle(keep):  # what cannot be written otherwise stays whole
            trace.always += [(place, trace.at(place).ids) for place in held]

    def settle(self, keep: Keep) -> list[Place]:
        """Find out what is where; what must be made whole if that cannot be."""
        self.need = needs(self.trace, keep)
        self.actual: Needs = dict(self.need)
        self.gathers: dict[tuple[int, Place], Mask] = {}
        held: list[Place] = []
        for index, node in enumerate(self.program.nodes):
            if executed(self.program, node):
                held += self.move(index, node)
            else:
                held += self.compute(index, node, self.trace.links.get(index, []))
        for one, other in self.trace.ties:
            if self.left(*one).sum() != self.left(*other).sum():
                held += [place for place in (self.trace.along(*one), self.trace.along(*other)) if place is not None]
        return held

    def move(self, index: int, node: NodeProto) -> list[Place]:
        """Everything is moved, but operands of a Concat have to be equally long along its other axes."""
        meeting = []
        for place, made in self.trace.links.get(index, ()):
            if key(node) == "Concat" and touched(self.program, node).isdisjoint(self.trace.at(made).axes):
                meeting.append((place, made))
            else:
                self.actual[made] = self.actual[made] | (self.actual[place] & self.trace.own(made))
        return self.compute(index, node, meeting)

    def compute(self, index: int, node: NodeProto, links: list[tuple[Place, Place]]) -> list[Place]:
        """What is made is what is needed of it."""
        held: list[Place] = []
        wanted: dict[Place, list[tuple[Mask, list[Place]]]] = {}
        for place, made in links:
            wanted.setdefault(place, []).append((self.need[made] & self.trace.own(place), [made]))
        for place, mixer in self.trace.mixed.get(index, ()):
            wanted.setdefault(place, []).append((self.kept[mixer], []))
        for place, entries in wanted.items():
            (site, _), axes, (first, _) = place, self.trace.at(place).axes, entries[0]
            fixed = isinstance(site, tuple) or axes[0] in self.program.dynamic.get(site, {}) or len(axes) > 1
            same = all(np.array_equal(rows, first) for rows, _ in entries)
            if same and np.array_equal(first, self.actual[place]):
                continue
            if same and not fixed:
                self.gathers[index, place] = first
                continue
            less = [made for _, each in entries for made in each if (self.trace.own(made) & ~self.need[made]).any()]
            if not less:
                raise ModelError(f"rows of '{site}', which node {label(node)} reads, cannot be cut")
            held += less
        return held

    def left(self, site: Site, axis: int) -> Mask:
        """Which indices of an axis are there."""
        place = self.trace.along(site, axis)
        if place is None:
            name = site if isinstance(site, str) else self.program.nodes[site[0]].input[site[1]]
            return np.ones(self.program.shapes[name][axis], np.bool_)
        return self.actual[place][self.trace.at(place).ids.ravel()]
