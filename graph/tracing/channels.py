"""Hyperplanes that are one channel: those that share ids or are linked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graph.tracing.planes import Axis, Plane
from graph.tracing.trace import Ids, Trace

Labels = NDArray[np.int64]
Numbers = NDArray[np.int32]  # of hyperplanes and ids, of which there are less than 2^31


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
        if through_edges:
            joins.edges()
        if units:
            joins.grids()
            joins.groups()
        channel = joins.components()
        self.labels: dict[Axis, Labels] = {axis: channel[numbers] for axis, numbers in joins.numbers.items()}
        self.count = int(channel.max(initial=-1)) + 1
        self.family = _families(self.labels, self.count)
        self.families: dict[int, list[Axis]] = {}
        for member, number in self.family.items():
            self.families.setdefault(number, []).append(member)


class _Joins:
    """Pairs of what is one channel.

    Ids that vary along one axis alone are the numbers of its hyperplanes. Those that vary along two belong to a
    hyperplane of each, so they are no channel by themselves, and the hyperplanes have numbers of their own.
    """

    def __init__(self, trace: Trace, planes: Mapping[Axis, Plane]) -> None:
        self.trace, self.planes = trace, planes
        self.numbers: dict[Axis, Labels] = {}
        self.count = trace.count
        for (site, axis), plane in planes.items():
            if site in trace.ids and trace.varying(site) == [axis]:
                self.numbers[site, axis] = _line(trace.ids[site], axis)
            else:
                self.numbers[site, axis] = np.arange(self.count, self.count + plane.gone.size)
                self.count += plane.gone.size
        self.left: list[Numbers] = []
        self.right: list[Numbers] = []

    def join(self, left: Labels, right: Labels) -> None:
        self.left.append(left.astype(np.int32))
        self.right.append(right.astype(np.int32))

    def links(self) -> None:
        for link in self.trace.links:
            for other in link.axes[1:]:
                self.join(self.numbers[link.axes[0]], self.numbers[other])

    def edges(self) -> None:
        for edge, name in self.trace.edges.items():
            (axis,) = self.trace.varying(edge)
            together = self.planes[edge, axis].gone == self.planes[name, axis].gone
            self.join(self.numbers[edge, axis][together], self.numbers[name, axis][together])

    def grids(self) -> None:
        """The longest axis that may lose anything, like the width of attention heads, is the one to cut along."""
        for site, ids in self.trace.ids.items():
            varying = [(site, axis) for axis in self.trace.varying(site)]
            able = [axis for axis in varying if self.planes[axis].gone.any()]
            if len(varying) > 1 and able:
                cut = max(able, key=lambda axis: _rank(ids, axis[1]))
                along = self.numbers[cut].reshape([-1 if axis == cut[1] else 1 for axis in range(ids.ndim)])
                self.join(np.broadcast_to(along, ids.shape).ravel(), ids.ravel())

    def groups(self) -> None:
        for groups in self.trace.groups:
            sides = [self.numbers[axis] for axis in (groups.inputs, groups.outputs) if axis in self.planes]
            sizes = [side.size // groups.count for side in sides]
            for side, size in zip(sides, sizes, strict=True):
                where = np.arange(side.size)
                if 1 in sizes:  # nothing can go but a whole group
                    self.join(side, sides[-1][where // size * sizes[-1]])
                else:
                    self.join(side, side[where % size])

    def components(self) -> Labels:
        """The channel of every number."""
        return _components(self.left, self.right, self.count)


def _families(labels: Mapping[Axis, Labels], count: int) -> dict[Axis, int]:
    """Numbers for the sets of axes that have channels in common."""
    lines = list({line.tobytes(): line.astype(np.int32) for line in labels.values()}.values())
    families = _components([np.full(line.size, line[0]) for line in lines], lines, count)
    return {axis: int(families[line[0]]) for axis, line in labels.items()}


def _components(left: list[Numbers], right: list[Numbers], count: int) -> Labels:
    rows, columns = (np.concatenate([*each, np.zeros(0, np.int32)]) for each in (left, right))
    graph = coo_array((np.ones(rows.size, np.bool_), (rows, columns)), (count, count))
    labels: Labels = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _line(ids: Ids, axis: int) -> Labels:
    """The ids along ``axis``, at the beginning of all others."""
    line: Labels = ids[tuple(slice(None) if place == axis else 0 for place in range(ids.ndim))]
    return line


def _rank(ids: Ids, axis: int) -> tuple[int, int]:
    """How many different ids lie along an axis, and if in doubt how near each other: the same in any order of axes."""
    line = _line(ids, axis)
    return np.unique(line).size, -abs(int(line[1]) - int(line[0]))
