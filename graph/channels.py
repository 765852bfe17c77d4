"""Hyperplanes that are one channel: those that share ids or are linked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graph.planes import Axis, Plane
from graph.trace import Trace

Labels = NDArray[np.int64]


class Channels:
    """Every hyperplane's channel.

    Attributes:
        labels: per axis, the channel of every index.
        families: lists of axes that hang together, by number.
        family: per axis, the number of its family.
    """

    def __init__(
        self, trace: Trace, planes: Mapping[Axis, Plane], *, through_edges: bool, balanced: bool = False
    ) -> None:
        """Find them.

        Args:
            trace: the ids and links.
            planes: the axes.
            through_edges: a use is the same channel as its tensor.
            balanced: channels of one node's groups go together, so that all groups stay equally wide.
        """
        axes = list(planes)
        starts = np.cumsum([0, *(planes[axis].gone.size for axis in axes)])
        offset = dict(zip(axes, starts.tolist(), strict=False))
        count = int(starts[-1])
        left: list[Labels] = []
        right: list[Labels] = []

        def join(one: Axis, other: Axis, where: Labels, there: Labels | None = None) -> None:
            left.append(offset[one] + where)
            right.append(offset[other] + (where if there is None else there))

        for link in trace.links:
            for other in link.axes[1:]:
                join(link.axes[0], other, np.arange(planes[other].gone.size))
        for site in trace.ids:
            varying = trace.varying(site)
            if len(varying) == 1:  # ids that vary along two axes belong to a hyperplane of each
                ids = trace.ids[site].ravel()
                left.append(offset[site, varying[0]] + np.arange(ids.size))
                right.append(count + ids)
        if through_edges:  # a use is the same channel as its tensor, except where one goes and the other stays
            for edge, name in trace.edges.items():
                (axis,) = trace.varying(edge)
                together = planes[edge, axis].gone == planes[name, axis].gone
                join((edge, axis), (name, axis), np.flatnonzero(together))
        for groups in trace.groups if balanced else []:
            sides = [axis for axis in (groups.inputs, groups.outputs) if axis in planes]
            sizes = [planes[axis].gone.size // groups.count for axis in sides]
            for side, size in zip(sides, sizes, strict=True):
                where = np.arange(size * groups.count)
                if 1 in sizes:  # nothing can go but a whole group
                    join(side, sides[-1], where, where // size * sizes[-1])
                else:
                    join(side, side, where, where % size)
        labels = _components(left, right, count + trace.count)[:count]
        self.labels: dict[Axis, Labels] = dict(zip(axes, np.split(labels, starts[1:-1]), strict=True)) if axes else {}
        owner = np.repeat(np.arange(len(axes)), np.diff(starts))
        family = _components([owner], [len(axes) + labels], len(axes) + count + trace.count)
        self.family = {axis: int(family[place]) for place, axis in enumerate(axes)}
        self.families: dict[int, list[Axis]] = {}
        for member, number in self.family.items():
            self.families.setdefault(number, []).append(member)


def _components(left: list[Labels], right: list[Labels], count: int) -> Labels:
    rows = np.concatenate([*left, np.zeros(0, np.int64)])
    columns = np.concatenate([*right, np.zeros(0, np.int64)])
    graph = coo_array((np.ones(rows.size, np.bool_), (rows, columns)), (count, count))
    labels: Labels = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels
