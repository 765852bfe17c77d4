"""Axes that must keep their size: what is computed at run time, cut unevenly, or quantised together."""

from __future__ import annotations

from onnx import NodeProto

from graph.model.program import Program, key, label
from graph.model.quantised import blocks as quantised_blocks
from graph.model.quantised import parts, quantised
from graph.tracing.movement import data_inputs, slice_steps, touched, unsettled
from graph.tracing.sites import Sites
from graph.tracing.sizes import TARGETS, Sizes, Source
from graph.tracing.trace import Freeze, Link, Site


class Holds(Sites):
    """Adds to a trace what may not go, and what goes only together, for the sake of sizes."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.sizes = Sizes(program)

    def unwritable(self, index: int, node: NodeProto) -> None:
        """Sizes and bounds that are computed at run time cannot be rewritten, and a stride cannot be uneven."""
        operands = data_inputs(node)
        computed = [name for name in node.input[len(operands) :] if name and name not in self.program.constants]
        out = node.output[0]
        if key(node) in ("DepthToSpace", "SpaceToDepth"):  # blocks of pixels stay square and whole
            for axis in (2, 3):
                self.freeze(index, out if key(node) == "DepthToSpace" else self.site(index, 0), axis, "mixed")
        if key(node) in TARGETS:
            self.adapt(index, node)
        elif computed or (key(node) == "Slice" and (slice_steps(self.program, node) != 1).any()):
            for slot in range(len(operands)):
                for axis in touched(self.program, node):
                    self.freeze(index, self.site(index, slot), axis, "computed or uneven bounds")

    def adapt(self, index: int, node: NodeProto) -> None:
        """Where the target shape is computed, an axis may lose what the one loses that its size was read from."""
        out = node.output[0]
        for axis, source in self.sizes.targets(node):
            if source is None:
                self.freeze(index, out, axis, "computed size")
            else:
                self.tie(index, (out, axis), source)

    def tie(self, index: int, axis: tuple[Site, int], source: Source) -> None:
        """As many indices leave ``axis`` as leave the one that its size comes from."""
        if isinstance(source.site, str):
            other: tuple[Site, int] = source.site, source.place
        else:
            other = self.trace.sizes.setdefault((source.site, source.place), axis)
        varying = [end for end in (axis, other) if end[1] in self.trace.varying(end[0])]
        if len(varying) == 2 and axis != other:
            self.trace.links.append(Link(index, (axis, other)))
        elif len(varying) == 1 and axis != other:
            self.freeze(index, *varying[0], "computed size")

    def blocks(self) -> None:
        """Elements that were quantised with a common scale stay together."""
        self.trace.stored = quantised(self.program)
        for use, axis in quantised_blocks(self.program, self.trace.stored):
            out = self.trace.follows.get(use)
            site, offset = (out, len(self.shape(out)) - len(self.shape(use))) if out else (use, 0)
            self.trace.freezes.append(self.freezing(use[0], site, axis + offset, "quantised in blocks"))
        for groups in self.trace.groups:  # each group loses other indices of axis 1, of which there must be one copy
            weight, *scales = parts(self.trace.stored, (groups.node, 1), 2)
            if weight.axes[1] != 1 or any(1 in scale.axes for scale in scales):
                for site, axis in (groups.inputs, groups.outputs):
                    self.freeze(groups.node, site, axis, "quantised")

    def dynamic(self) -> None:
        """A grid along an axis whose size depends on what is fed may fit the probe size only."""
        for name in self.program.dynamic:
            if name in self.program.makers and name in self.trace.ids:
                node = self.program.nodes[self.program.makers[name]]
                axes = unsettled(self.program, node, name, [self.trace.ids[name]])
                self.trace.freezes += [Freeze(None, name, axis, "frozen", label(node)) for axis in sorted(axes)]
