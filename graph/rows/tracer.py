"""A trace of rows in the making."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import numpy as np
from onnx import NodeProto
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graph.model.nodes import key
from graph.model.program import Program
from graph.rows.facts import Place, Rows, RowTrace
from graph.tracing.sites import GRID
from graph.tracing.trace import Ids, Site

ZERO_KEEPING = {"Cast", "Identity", "IsNaN", "Mul"}  # a softmax's weight of zero stays one


class Tracer:
    """The rows that tensors have so far."""

    def __init__(self, program: Program) -> None:
        self.program, self.found = program, RowTrace(program)
        self.same: list[tuple[Ids, Ids]] = []

    def fresh(self, shape: Sequence[int]) -> Ids:
        """Rows that nothing else has."""
        start, self.found.count = self.found.count, self.found.count + prod(shape)
        return np.arange(start, self.found.count, dtype=np.int64).reshape(shape)

    def put(self, site: Site, rows: Rows) -> Place:
        """File rows of a tensor."""
        self.found.rows.setdefault(site, []).append(rows)
        return site, len(self.found.rows[site]) - 1

    def born(self, name: str, axes: Iterable[int]) -> None:
        """New rows along all of ``axes`` together, but for those whose size depends on what is fed; all are made."""
        shape, dynamic = self.program.shapes[name], self.program.dynamic.get(name, {})
        wanted = set(axes).difference(dynamic)
        sizes = [size if axis in wanted else 1 for axis, size in enumerate(shape)]
        if 1 < prod(sizes) <= GRID:
            place = self.put(name, Rows(self.fresh(sizes)))
            self.found.always.append((place, self.found.at(place).ids))

    def link(self, index: int, place: Place, made: Place) -> None:
        """As many rows of an operand are needed as of an output."""
        self.found.links.setdefault(index, []).append((place, made))

    def need(self, index: int, place: Place, ids: Ids) -> None:
        """These rows of an operand are needed in any case."""
        self.found.whole.setdefault(index, []).append((place, ids.ravel()))

    def need_all(self, index: int, site: Site, axes: Iterable[int] | None = None) -> None:
        """All rows of an operand are needed, or all that lie along one of ``axes``."""
        for place, rows in self.found.places(site):
            if axes is None or not set(axes).isdisjoint(rows.axes):
                self.need(index, place, rows.ids)

    def hold(self, name: str, axes: Iterable[int]) -> None:
        """All rows of a tensor along one of ``axes`` are made."""
        self.found.always += [
            (place, rows.ids) for place, rows in self.found.places(name) if not set(axes).isdisjoint(rows.axes)
        ]

    def meet(self, index: int, node: NodeProto, axes: Iterable[int]) -> None:
        """Operands meet element by element along ``axes`` of the output: if all have rows there, these are the same."""
        out = node.output[0]
        rank = len(self.program.shapes[out])
        groups: dict[tuple[int, ...], list[tuple[int, Place, Rows]]] = {}
        for slot in range(len(node.input)):
            for place, rows in self.found.places(self.found.site(index, slot)):
                own = Rows(rows.ids.reshape((1,) * (rank - rows.ids.ndim) + rows.ids.shape), rows.mixer)
                if set(own.axes) <= set(axes):
                    groups.setdefault(tuple(own.axes), []).append((slot, place, own))
        for own_axes, members in groups.items():
            having = {slot for slot, _, _ in members}
            others = [slot for slot in range(len(node.input)) if slot not in having]
            shared = any(other != own_axes and not set(other).isdisjoint(own_axes) for other in groups)
            if shared or any(self._spans(node.input[slot], own_axes, rank) for slot in others):
                for _, place, rows in members:
                    self.need(index, place, rows.ids)
                continue
            made = self.put(out, Rows(members[0][2].ids, self.tag(node, members)))
            for _, place, rows in members:
                self.link(index, place, made)
                self.same.append((rows.ids.ravel(), members[0][2].ids.ravel()))

    def tag(self, node: NodeProto, members: list[tuple[int, Place, Rows]]) -> int | None:
        """The softmax whose weights an element-wise op makes zero where they are."""
        tags = {slot: rows.mixer for slot, _, rows in members}
        zeros = key(node) in ZERO_KEEPING
        if key(node) == "Where":  # of weights and zeros, whatever decides
            tags.pop(0, None)
            others = [self.program.constants.get(node.input[slot]) for slot in {1, 2} - tags.keys()]
            zeros = None not in tags.values() and all(value is not None and not value.any() for value in others)
        found = set(tags.values()) - {None}
        return found.pop() if len(found) == 1 and zeros else None

    def _spans(self, name: str, axes: tuple[int, ...], rank: int) -> bool:
        """Whether a tensor is no constant, and differs along one of ``axes`` of an output of ``rank``."""
        if not name or name in self.program.constants:
            return False
        shape = self.program.shapes[name]
        lead = rank - len(shape)
        return any(axis >= lead and shape[axis - lead] > 1 for axis in axes)

    def follow(self, index: int, slot: int, axes: Mapping[int, int], out: str) -> None:
        """A constant loses what an output loses: ``axes`` says which axis of the output is which of the constant."""
        for place, rows in self.found.places(out):
            if len(rows.axes) == 1 and rows.axes[0] in axes:
                self.found.follows.setdefault((index, slot), []).append((axes[rows.axes[0]], place))

    def finish(self) -> RowTrace:
        """Merge what was said to be the same, and find out which mixers could really do with fewer rows.

        Rows that lie along one axis nowhere never leave anything, so they are one: pixels of images are many.
        """
        found = self.found
        left, right = (np.concatenate([np.zeros(0, np.int64), *(pair[side] for pair in self.same)]) for side in (0, 1))
        links = coo_array((np.ones(left.size, np.bool_), (left, right)), (found.count, found.count))
        count, labels = connected_components(links, directed=False)
        lines = np.zeros(count, np.bool_)
        for rows in (rows for each in found.rows.values() for rows in each if len(rows.axes) == 1):
            lines[labels[rows.ids]] = True
        numbers = np.where(lines, np.cumsum(lines), 0)
        found.relabel(numbers[labels], int(lines.sum()) + 1)
        found.settle()
        return found
