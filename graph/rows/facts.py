"""What is known of the rows of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from graph.model.program import Program
from graph.tracing.trace import Ids, Site, Use
from graph.values import Mask


@dataclass
class Rows:
    """Rows along one axis of a tensor, or along several that only together say which row it is.

    Attributes:
        ids: collapsed array of the tensor's rank: the row that every element belongs to.
        mixer: the node whose weights these are, if they came out of a softmax along this axis.
    """

    ids: Ids
    mixer: int | None = None

    @property
    def axes(self) -> list[int]:
        """Along which they differ."""
        return [axis for axis, size in enumerate(self.ids.shape) if size > 1]

    @property
    def line(self) -> NDArray[np.int64] | None:
        """The row of every index of their axis; None if they lie along several."""
        return self.ids.ravel() if len(self.axes) == 1 else None


Place = tuple[Site, int]  #: of rows: a tensor, or a use of a constant, and which of its rows


@dataclass(frozen=True)
class Mixer:
    """A node that mixes rows, and could as well mix fewer of them: a softmax over keys, all of attention, or a mean.

    Attributes:
        node: its index.
        name: of what it makes, and so its own.
        tensor: that it mixes.
        axis: of ``tensor``.
        rows: per index of the axis, its row.
    """

    node: int
    name: str
    tensor: str
    axis: int
    rows: NDArray[np.int64]


@dataclass
class RowTrace:
    """Rows of all tensors, and who needs which.

    Attributes:
        program: the model.
        rows: per tensor, or use of a constant that has rows of its own; several if they lie along different axes.
        links: per node, rows of an operand of which as many are needed as of rows of an output.
        whole: per node, rows of an operand of which these are needed, whatever is needed of its outputs.
        always: rows of outputs that are made in any case.
        mixed: per node, rows of an operand of which those are needed that a mixer keeps.
        mixers: by node, in the order of the graph.
        sums: by mixer that attention is made of, the node that sums up rows with its weights.
        follows: per use of a constant, its axes that lose what an output loses, with the output's rows.
        sizes: elements of constants in computed shapes, with the axis whose size they are.
        ties: axes that have to stay equally long, since the size of the first is read from the second.
        count: of rows.
    """

    program: Program
    rows: dict[Site, list[Rows]] = field(default_factory=dict)
    links: dict[int, list[tuple[Place, Place]]] = field(default_factory=dict)
    whole: dict[int, list[tuple[Place, Ids]]] = field(default_factory=dict)
    always: list[tuple[Place, Ids]] = field(default_factory=list)
    mixed: dict[int, list[tuple[Place, int]]] = field(default_factory=dict)
    mixers: dict[int, Mixer] = field(default_factory=dict)
    sums: dict[int, int] = field(default_factory=dict)
    follows: dict[Use, list[tuple[int, Place]]] = field(default_factory=dict)
    sizes: dict[tuple[Use, int], tuple[str, int]] = field(default_factory=dict)
    ties: list[tuple[tuple[str, int], tuple[str, int]]] = field(default_factory=list)
    count: int = 0

    def at(self, place: Place) -> Rows:
        """The rows at a place."""
        site, number = place
        return self.rows[site][number]

    def places(self, site: Site) -> list[tuple[Place, Rows]]:
        """All rows of a tensor, with their places."""
        return [((site, number), rows) for number, rows in enumerate(self.rows.get(site, ()))]

    def along(self, site: Site, axis: int) -> Place | None:
        """Which rows lie along an axis, and along this one alone."""
        return next((place for place, rows in self.places(site) if rows.axes == [axis]), None)

    def site(self, index: int, slot: int) -> Site:
        """An operand: a tensor, or the use of a constant if that has rows of its own."""
        return (index, slot) if (index, slot) in self.rows else self.program.nodes[index].input[slot]

    def mask(self, ids: Ids | Sequence[int]) -> Mask:
        """A set of rows."""
        found = np.zeros(self.count, np.bool_)
        found[np.asarray(ids, np.int64)] = True
        return found

    def own(self, place: Place) -> Mask:
        """The rows at a place, as a set."""
        return self.mask(self.at(place).ids)

    def relabel(self, labels: Ids, count: int) -> None:
        """Give every row the number ``labels`` [count before] of what it was found to be."""
        self.count = count
        for each in self.rows.values():
            for rows in each:
                rows.ids = labels[rows.ids]
        self.always = [(place, labels[ids]) for place, ids in self.always]
        self.whole = {index: [(place, labels[ids]) for place, ids in each] for index, each in self.whole.items()}
        self.mixers = {index: replace(each, rows=labels[each.rows]) for index, each in self.mixers.items()}

    def settle(self) -> None:
        """Forget the mixers that need all their rows: whose weights are used for more than a sum, or are no tokens'."""
        fixed = {index for index in self.mixers if self.program.nodes[index].op_type == "Softmax"} - self.sums.keys()
        for links in self.links.values():
            pairs = ((self.at(place).mixer, self.at(made).mixer) for place, made in links)
            fixed |= {tag for tag, same in pairs if tag is not None and tag != same}
        for needs in self.whole.values():
            fixed |= {tag for place, _ in needs if (tag := self.at(place).mixer) is not None}
        tokens = self.mask([])
        for index in self.sums.keys() - fixed:
            tokens[self.mixers[index].rows] = True
        fixed |= {index for index, each in self.mixers.items() if not tokens[each.rows].all()}
        for index in fixed & self.mixers.keys():
            del self.mixers[index]
        for node, entries in self.mixed.items():
            self.whole.setdefault(node, []).extend((place, self.at(place).ids) for place, by in entries if by in fixed)
        for site in self.rows:
            for place, rows in self.places(site):
                if rows.mixer in fixed:
                    rows.mixer = None
                    self.always.append((place, rows.ids))
        self.mixed = {node: [entry for entry in each if entry[1] not in fixed] for node, each in self.mixed.items()}
