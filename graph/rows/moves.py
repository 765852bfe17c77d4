"""Rows on the move: ops that only move elements are executed on their numbers."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from graph.model.evaluate import CannotEvaluate
from graph.model.nodes import key
from graph.model.program import Program
from graph.rows.facts import Place, Rows
from graph.rows.tracer import Tracer
from graph.tracing.movement import RESHAPES, data_inputs, move, slice_steps, touched
from graph.tracing.padding import paddings
from graph.tracing.sites import GRID
from graph.tracing.sizes import Sizes
from graph.tracing.trace import Ids


class Moves(Tracer):
    """Adds to a trace what data movement does."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.sizes = Sizes(program)

    def movement(self, index: int, node: NodeProto) -> None:
        """Rows of what an op moves; constants have some of their own."""
        for slot, name in enumerate(data_inputs(node)):
            shape = self.program.shapes[name] if name in self.program.constants else ()
            for axis, size in enumerate(shape):
                if 1 < size <= GRID:
                    sizes = [size if place == axis else 1 for place in range(len(shape))]
                    self.put((index, slot), Rows(self.fresh(sizes)))
        if key(node) == "Concat":
            return self.concat(index, node)
        outputs = [name for name in node.output if name]
        moved: dict[str, list[tuple[Place, Rows]]] = {name: [] for name in outputs}
        for place, rows in self.found.places(self.found.site(index, 0)):
            try:
                arrays = [] if self.stuck(node, rows) else move(self.program, node, [rows.ids], np.zeros((), np.int64))
            except CannotEvaluate:
                arrays = []
            if not arrays:
                self.need(index, place, rows.ids)
            for name, ids in zip(outputs, arrays, strict=False):
                moved[name].append((place, Rows(ids, rows.mixer)))
        for name, entries in moved.items():
            self.arrive(index, name, entries)
        if key(node) == "Expand":
            self.spread(node)
        self.target(node)

    def spread(self, node: NodeProto) -> None:
        """Copies along an axis that there was but one of: as many as anybody needs."""
        out = node.output[0]
        before, after = (self.program.shapes[name] for name in (node.input[0], out))
        before = (1,) * (len(after) - len(before)) + before
        for axis, (old, new) in enumerate(zip(before, after, strict=True)):
            if old == 1 < new <= GRID and axis not in self.program.dynamic.get(out, {}):
                self.put(out, Rows(self.fresh([new if a == axis else 1 for a in range(len(after))])))

    def arrive(self, index: int, name: str, entries: list[tuple[Place, Rows]]) -> None:
        """File what came out; two kinds of rows on one axis are rows of a third kind."""
        mixed: set[int] = set()
        for place, rows in entries:
            others = {axis for other, own in entries if other != place for axis in own.axes}
            if rows.axes and others.isdisjoint(rows.axes):
                self.link(index, place, self.put(name, rows))
                continue
            self.need(index, place, np.unique(rows.ids))
            mixed.update(rows.axes)
        self.born(name, mixed)

    def stuck(self, node: NodeProto, rows: Rows) -> bool:
        """Whether a movement does to rows what cannot be rewritten."""
        if key(node) in RESHAPES | {"Dropout", "Expand"}:
            return False
        if key(node) in ("DepthToSpace", "SpaceToDepth", "Tile"):
            return True
        moved = set(rows.axes).intersection(touched(self.program, node))
        if key(node) == "Pad":
            return any(any(paddings(self.program, node)[axis]) for axis in moved)
        if key(node) == "Slice" and (slice_steps(self.program, node) != 1).any():
            return bool(moved)
        computed = any(name and name not in self.program.constants for name in node.input[1:])
        return bool(moved) and (computed or not moved.isdisjoint(self.program.dynamic.get(node.input[0], {})))

    def concat(self, index: int, node: NodeProto) -> None:
        """Rows behind one another along the axis; along the others operands meet."""
        out, (axis,) = node.output[0], touched(self.program, node)
        rank = len(self.program.shapes[out])
        self.meet(index, node, set(range(rank)) - {axis})
        sites = [self.found.site(index, slot) for slot in range(len(node.input))]
        places = [self.found.along(site, axis) for site in sites]
        if axis in self.program.dynamic.get(out, {}) or not any(places):
            for site in sites:
                self.need_all(index, site, [axis])
            return
        parts: list[Ids] = []
        for site, name, place in zip(sites, node.input, places, strict=True):
            self.need_all(index, site, [axis] if place is None else [])
            ids = self.fresh([self.program.shapes[name][axis]]) if place is None else self.found.at(place).ids.ravel()
            parts.append(ids)
        made = self.put(out, Rows(np.concatenate(parts).reshape([-1 if a == axis else 1 for a in range(rank)])))
        for place, ids in zip(places, parts, strict=True):
            if place is None:
                self.found.always.append((made, ids))
            else:
                self.link(index, place, made)

    def target(self, node: NodeProto) -> None:
        """Targets that are computed are right again if the size that they come from shrinks as well."""
        out = node.output[0]
        for axis, source in self.sizes.targets(node):
            if source is None:
                self.hold(out, [axis])
            elif isinstance(source.site, str):
                self.found.ties.append(((out, axis), (source.site, source.place)))
            else:
                other = self.found.sizes.setdefault((source.site, source.place), (out, axis))
                if other != (out, axis):
                    self.found.ties.append(((out, axis), other))
