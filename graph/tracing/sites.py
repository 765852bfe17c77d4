"""A trace in the making: ids for tensors, and what may not go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graph.model.program import Program, Shape, label
from graph.tracing.trace import Freeze, Ids, Site, Trace, name_of

#: Elements of a tensor that have ids of their own. Scores of attention with a bias per position would have millions.
GRID = 2**18


def too_long(sizes: Sequence[int]) -> set[int]:
    """Axes that a grid of ``sizes`` must do without to stay small: the longest ones, along which nothing may go."""
    order = sorted(range(len(sizes)), key=lambda axis: sizes[axis])
    reach = np.cumprod([float(sizes[axis]) for axis in order])
    return {axis for axis, product in zip(order, reach, strict=True) if product > GRID and sizes[axis] > 1}


class Sites:
    """The ids that tensors have so far."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.trace = Trace()
        self.stuck: dict[int, Freeze] = {}  # ids that never go

    def fresh(self, shape: tuple[int, ...]) -> Ids:
        """Ids that no other element has."""
        size = int(np.prod(shape, dtype=np.int64))
        ids = np.arange(self.trace.count, self.trace.count + size, dtype=np.int64).reshape(shape)
        self.trace.count += size
        return ids

    def opaque(self, index: int | None, name: str, why: str) -> None:
        """Give a tensor one id that never goes."""
        if name in self.program.shapes:
            self.put(name, self.fresh((1,) * len(self.program.shapes[name])))
            self.stick(name, self.freezing(index, name, None, why))

    def stick(self, name: str, freeze: Freeze) -> None:
        """The one id of a tensor never goes, for the same reason as another."""
        self.stuck[self.trace.ids[name].item()] = freeze
        self.trace.freezes.append(replace(freeze, site=name, axis=None))

    def cause(self, ids: Ids | None) -> Freeze | None:
        """Why a tensor has but one id, and it never goes; ``None`` if this is not so."""
        return self.stuck.get(ids.item()) if ids is not None and ids.size == 1 else None

    def put(self, site: Site, ids: Ids) -> None:
        """Give ``site`` its ids. An empty axis has one, that nothing but an empty tensor has."""
        self.trace.ids[site] = ids if ids.size else self.fresh(tuple(max(size, 1) for size in ids.shape))
        self.trace.shapes[site] = self.shape(site)

    def shape(self, site: Site) -> Shape:
        """The full shape of ``site``."""
        return self.program.shapes[name_of(self.program, site)]

    def site(self, index: int, slot: int) -> Site:
        """The operand in ``slot`` of node ``index``."""
        return self.trace.operand(self.program, index, slot)

    def freeze(self, index: int | None, site: Site, axis: int | None, why: str) -> None:
        """Nothing may go along ``axis`` of ``site``, if it has ids, since node ``index`` reads it."""
        if site in self.trace.ids:
            self.trace.freezes.append(self.freezing(index, site, axis, why))

    def freezing(self, index: int | None, site: Site, axis: int | None, why: str) -> Freeze:
        """A freeze by node ``index``, or by the model itself."""
        return Freeze(index, site, axis, why, str(site) if index is None else label(self.program.nodes[index]))
