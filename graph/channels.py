"""Hyperplanes that are one channel: those that share ids or are linked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graph.planes import Axis, Plane
from graph.trace import Ids, Trace

Labels = NDArray[np.int64]


class Channels:
    """Every hyperplane's channel.

    Attributes:
        labels: per axis, the channel of every index.
        families: lists of axes that hang together, by number.
        family: per axis, the number of its family.
        count: one more than the largest label.
    """

    def __init__(self, trace: Trace, planes: Mapping[Axis, Plane], *, through_edges: bool, units: bool = False) -> None:
        """Find them.

        Args:
            trace: the ids and links.
            planes: the axes, and what may go of each.
            through_edges: a use is the same channel as its tensor, except where one goes and the other stays.
            units: channels that cannot go without one another are one: of a grid those that lie in a row of it,
                and of groups those that keep the groups equally wide.
        """
        joins = _Joins(trace, planes)
        joins.links()
        joins.lines()
        if through_edges:
            joins.edges()
        if units:
            joins.grids()
            joins.groups()
        labels, axes = joins.components(), list(planes)
        self.count = int(labels.max(initial=-1)) + 1
        self.labels: dict[Axis, Labels] = dict(zip(axes, np.split(labels, joins.starts[1:-1]), strict=False))
        owner = np.repeat(np.arange(len(axes)), np.diff(joins.starts))
        family = _components([owner], [len(axes) + labels], len(axes) + joins.count)
        self.family = {axis: int(family[place]) for place, axis in enumerate(axes)}
        self.families: dict[int, list[Axis]] = {}
        for member, number in self.family.items():
            self.families.setdefault(number, []).append(member)


class _Joins:
    """Pairs of what is one channel: the hyperplanes are numbered axis by axis, and the ids behind them."""

    def __init__(self, trace: Trace, planes: Mapping[Axis, Plane]) -> None:
        self.trace, self.planes = trace, planes
        self.starts = np.cumsum([0, *(plane.gone.size for plane in planes.values())])
        self.offset = dict(zip(planes, self.starts.tolist(), strict=False))
        self.count = int(self.starts[-1]) + trace.count
        self.left: list[Labels] = []
        self.right: list[Labels] = []

    def join(self, one: Axis, where: Labels, other: Axis, there: Labels) -> None:
        self.left.append(self.offset[one] + where)
        self.right.append(self.offset[other] + there)

    def join_ids(self, axis: Axis) -> None:
        """Every hyperplane along ``axis`` with all ids in it."""
        ids = self.trace.ids[axis[0]]
        places = np.arange(ids.shape[axis[1]]).reshape([-1 if a == axis[1] else 1 for a in range(ids.ndim)])
        self.left.append(self.offset[axis] + np.broadcast_to(places, ids.shape).ravel())
        self.right.append(int(self.starts[-1]) + ids.ravel())

    def links(self) -> None:
        for link in self.trace.links:
            for other in link.axes[1:]:
                every = np.arange(self.planes[other].gone.size)
                self.join(link.axes[0], every, other, every)

    def lines(self) -> None:
        """Ids that vary along two axes belong to a hyperplane of each, so they are no channel by themselves."""
        for site in self.trace.ids:
            varying = self.trace.varying(site)
            if len(varying) == 1:
                self.join_ids((site, varying[0]))

    def edges(self) -> None:
        for edge, name in self.trace.edges.items():
            (axis,) = self.trace.varying(edge)
            together = np.flatnonzero(self.planes[edge, axis].gone == self.planes[name, axis].gone)
            self.join((edge, axis), together, (name, axis), together)

    def grids(self) -> None:
        """The longest axis that may lose anything, like the width of attention heads, is the one to cut along."""
        for site, ids in self.trace.ids.items():
            varying = [(site, axis) for axis in self.trace.varying(site)]
            able = [axis for axis in varying if self.planes[axis].gone.any()]
            if len(varying) > 1 and able:
                self.join_ids(max(able, key=lambda axis: _rank(ids, axis[1])))

    def groups(self) -> None:
        for groups in self.trace.groups:
            sides = [axis for axis in (groups.inputs, groups.outputs) if axis in self.planes]
            sizes = [self.planes[axis].gone.size // groups.count for axis in sides]
            for side, size in zip(sides, sizes, strict=True):
                where = np.arange(size * groups.count)
                if 1 in sizes:  # nothing can go but a whole group
                    self.join(side, where, sides[-1], where // size * sizes[-1])
                else:
                    self.join(side, where, side, where % size)

    def components(self) -> Labels:
        """The channel of every hyperplane."""
        return _components(self.left, self.right, self.count)[: int(self.starts[-1])]


def _rank(ids: Ids, axis: int) -> tuple[int, int]:
    """How many different ids lie along an axis, and if in doubt how near each other: the same in any order of axes."""
    line = ids[tuple(slice(None) if place == axis else 0 for place in range(ids.ndim))]
    return np.unique(line).size, -abs(int(line[1]) - int(line[0]))


def _components(left: list[Labels], right: list[Labels], count: int) -> Labels:
    rows = np.concatenate([*left, np.zeros(0, np.int64)])
    columns = np.concatenate([*right, np.zeros(0, np.int64)])
    small = np.int32 if count < 2**31 else np.int64  # scipy would double them
    graph = coo_array((np.ones(rows.size, np.bool_), (rows.astype(small), columns.astype(small))), (count, count))
    labels: Labels = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels
