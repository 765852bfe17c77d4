"""A node with a signature on its way into a trace: axes with the same letter are the same channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from onnx import NodeProto

from graph.errors import ModelError
from graph.model.program import label
from graph.tracing.signature import OPAQUE, Signature
from graph.tracing.sites import Sites, too_long
from graph.tracing.trace import Freeze, Groups, Link, Read, Site


class Contraction:
    """What one node says about the axes of its operands and outputs.

    Attributes:
        uses: per letter of the outputs, the axes that have it.
        summed: per letter that is summed over, the axes that have it.
        blocked: letters along which nothing may go.
        cause: why one of the operands never goes; ``None`` if none is held like that.
        held: the letters of that operand.
    """

    def __init__(self, sites: Sites, index: int, node: NodeProto, found: Signature) -> None:
        self.sites, self.index, self.node, self.found = sites, index, node, found
        self.uses: dict[str, list[tuple[Site, int]]] = {}
        self.summed: dict[str, list[tuple[Site, int]]] = {}
        self.blocked: set[str] = set()
        self.cause: Freeze | None = None
        self.held = {OPAQUE}

    def trace(self, operands: Sequence[Site | None]) -> None:
        """File the ids of the outputs, and everything that ties them to ``operands`` (``None`` where one is absent)."""
        for name in self.node.input[len(operands) :]:
            self.sites.freeze(self.index, name, None, "no rule")
        for site, letters in zip(operands, self.found.operands, strict=False):
            if site is not None:
                self.meet(site, letters)
        self.make()
        for letter, axes in (self.uses | self.summed).items():
            self.tie(letter, axes)
        if self.found.groups > 1:
            self.group()
        for letter, axes in self.summed.items():
            self.sum(letter, axes)

    def meet(self, site: Site, letters: tuple[str, ...]) -> None:
        """Note the axes of an operand by letter."""
        shape, ids = self.sites.shape(site), self.sites.trace.ids.get(site)
        self.sites.trace.shapes[site] = shape
        if self.cause is None and self.sites.cause(ids):
            self.cause, self.held = self.sites.cause(ids), self.held.union(letters)
        for axis, letter in enumerate(letters):
            if letter == OPAQUE:
                if ids is not None and ids.shape[axis] > 1:
                    self.sites.freeze(self.index, site, axis, "mixed")
                    self.cause, self.held = self.cause or self.sites.trace.freezes[-1], self.held.union(letters)
            elif shape[axis] > 1:
                if ids is not None and ids.shape[axis] == 1:
                    self.blocked.add(letter)
                axes = self.summed if letter in self.found.summed else self.uses
                axes.setdefault(letter, []).append((site, axis))

    def make(self) -> None:
        """New ids for the outputs, along the letters that nothing blocks."""
        for letter in set().union(*self.found.outputs).difference(*self.found.operands):
            self.uses[letter] = []  # outputs of a grouped transposed convolution are no axis of its weight
        shapes = self.sites.program.shapes
        names = [name for name in self.node.output if name]
        for name, letters in zip(names, self.found.outputs, strict=False):
            free = [letter in self.uses and letter not in self.blocked for letter in letters]
            self.blocked |= {letters[axis] for axis in too_long(np.where(free, shapes[name], 1).tolist())}
        carried = self.uses.keys() - self.blocked
        for name, letters in zip(names, self.found.outputs, strict=False):
            sizes = [size if letter in carried else 1 for size, letter in zip(shapes[name], letters, strict=True)]
            self.sites.put(name, self.sites.fresh(tuple(sizes)))
            for axis, letter in enumerate(letters):
                if letter in carried and shapes[name][axis] > 1:
                    self.uses[letter].append((name, axis))
            if self.cause and self.held.issuperset(letters) and self.sites.trace.ids[name].size == 1:
                self.sites.stick(name, self.cause)

    def tie(self, letter: str, axes: list[tuple[Site, int]]) -> None:
        """Axes with one letter lose the same, or nothing."""
        trace = self.sites.trace
        met = sorted({trace.shapes[site][axis] for site, axis in axes})
        if len(met) > 1:  # onnx's inference does not look
            raise ModelError(f"node {label(self.node)} has inconsistent shapes: {met} channels meet")
        if letter in self.blocked:
            for site, axis in axes:
                freeze = self.cause or self.sites.freezing(self.index, site, axis, "mixed")
                trace.freezes.append(replace(freeze, site=site, axis=axis))
        elif len(axes) > 1:
            trace.links.append(Link(self.index, tuple(axes)))

    def group(self) -> None:
        """Groups stay equally wide, and axis 1 of their weight, which has no letter, is summed over."""
        data = self.sites.site(self.index, 0), 1
        self.sites.trace.groups.append(Groups(self.index, self.found.groups, data, (self.node.output[0], 1)))
        for axes in self.summed.values():
            axes += [((self.index, 1), 1)] if len(axes) == 1 else []

    def sum(self, letter: str, axes: list[tuple[Site, int]]) -> None:
        """An index may leave a sum of two operands if nothing is lost from it, and any other sum never."""
        if letter in self.blocked:
            return
        if len(axes) == 2:
            self.sites.trace.reads.append(Read(self.index, axes[0], axes[1]))
            return
        for site, axis in axes:
            self.sites.freeze(self.index, site, axis, "summed")
