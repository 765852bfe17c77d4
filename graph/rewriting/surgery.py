"""Step 5: rewrite the model: slice constants, add what was absorbed, patch sizes, drop what is dead.

The model is edited in place as a protobuf, so names, metadata, doc strings, opset and IR stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, helper

from graph.model.evaluate import Array
from graph.model.program import Program, key
from graph.model.quantised import parts
from graph.rewriting.absorb import VECTOR_BIAS, Absorbed, absorb
from graph.rewriting.adapt import adapt
from graph.rewriting.patches import PATCHES, Context
from graph.rewriting.tidy import keep, tidy
from graph.rewriting.write import write_constants
from graph.tracing.planes import Choice
from graph.tracing.trace import Groups, Site, Trace, Use, name_of
from graph.values import Mask, Values


@dataclass
class Surgery:
    """All edits of one model, collected first and applied at the end.

    Attributes:
        absorbed: what removed constants left behind; to its new values all others are added.
    """

    program: Program
    trace: Trace
    choice: Choice
    absorbed: Absorbed

    @property
    def constants(self) -> dict[Use, Array]:
        """New value per use of a constant (node, input slot)."""
        return self.absorbed.constants

    def operate(self, graph: GraphProto, taken: set[str]) -> None:
        """Take the channels that go out of ``graph``, a copy of the program's; ``taken`` are names in use anywhere."""
        self.slice_constants()
        edited = self.program.matching(graph)
        for index, node in enumerate(edited):
            self.patch(index, node)
        write_constants(self.program, graph, edited, self.constants, taken)
        self.resize_declared(graph)
        adapt(self.program, self.trace, self.choice, graph, edited, taken)
        tidy(graph)

    # -- what stays

    def site(self, index: int, slot: int) -> Site:
        """The operand in ``slot`` of node ``index``."""
        return self.trace.operand(self.program, index, slot)

    def kept(self, site: Site, axis: int, size: int) -> Mask:
        """Which indices of an axis stay."""
        gone = self.choice.gone(site, axis)
        return np.ones(size, np.bool_) if gone is None else ~gone

    # -- constants

    def name(self, site: Site) -> str:
        """The tensor behind a site."""
        return name_of(self.program, site)

    def slice_constants(self) -> None:
        """Cut out of every use of a constant what its node no longer sees."""
        cuts: dict[tuple[int, int], dict[int, Mask]] = {}
        for (site, axis), plane in self.choice.planes.items():
            if isinstance(site, tuple) and site not in self.trace.edges and plane.gone.any():
                cuts.setdefault(site, {})[axis] = ~plane.gone
        for use, out in self.trace.follows.items():
            shape, rank = self.program.shapes[self.name(use)], len(self.program.shapes[out])
            for axis, size in enumerate(shape):
                gone = self.choice.gone(out, axis + rank - len(shape))
                if gone is not None and size > 1:
                    cuts.setdefault(use, {})[axis] = ~gone
        for index in self.absorbed.names:  # a new bias has the output's full size
            if (index, 2) in self.constants:
                cuts[index, 2] = self.bias_cuts(index)
        for use, axes in cuts.items():
            for part in parts(self.trace.stored, use, max(axes, default=-1) + 1):
                array = self.constants.get(part.use)
                if array is None:
                    array = self.program.constants[self.name(part.use)]
                for own, axis in enumerate(part.axes):
                    if axis in axes:
                        array = self.constants[part.use] = array.compress(axes[axis], own)
        for groups in self.trace.groups:
            self.repack(groups)
        for (use, place), (site, axis) in self.trace.sizes.items():
            gone = self.choice.gone(site, axis)
            if gone is not None:
                sizes = self.constants.get(use, self.program.constants[self.name(use)]).copy()
                sizes.flat[place] = np.count_nonzero(~gone)
                self.constants[use] = sizes

    def repack(self, groups: Groups) -> None:
        """Cut the axis of a grouped weight that counts within a group: each group has lost other indices."""
        node, use = self.program.nodes[groups.node], (groups.node, 1)
        packed = groups.inputs if key(node) == "Conv" else groups.outputs
        gone = self.choice.gone(*packed)
        if gone is None or gone.all():
            return
        kept = ~gone.reshape(groups.count, -1)
        use = parts(self.trace.stored, use, 2)[0].use
        array = self.constants.get(use, self.program.constants[self.name(use)])
        kept = kept[kept.any(1)]
        places = np.nonzero(kept)[1].reshape(len(kept), -1).repeat(len(array) // len(kept), 0)
        places = places.reshape(*places.shape, *[1] * (array.ndim - 2))
        self.constants[use] = np.take_along_axis(array, places, 1)

    def bias_cuts(self, index: int) -> dict[int, Mask]:
        """What stays of each axis of a node's new bias."""
        out, shape = self.program.nodes[index].output[0], self.constants[index, 2].shape
        first = 1 if key(self.program.nodes[index]) in VECTOR_BIAS else len(self.program.shapes[out]) - len(shape)
        gone = {axis: self.choice.gone(out, first + axis) for axis, size in enumerate(shape) if size > 1}
        return {axis: ~each for axis, each in gone.items() if each is not None}

    # -- nodes

    def patch(self, index: int, node: NodeProto) -> None:
        """Rewrite the sizes, bounds and indices that a node carries itself."""
        if index in self.absorbed.unscaled:
            set_attribute(node, "beta", None)
        if key(node) not in PATCHES or not self.touches(index):
            return
        shapes = self.program.shapes

        def kept(slot: int, axis: int) -> Mask:
            return self.kept(self.site(index, slot), axis, shapes[self.program.nodes[index].input[slot]][axis])

        def kept_out(place: int, axis: int) -> Mask:
            name = [name for name in node.output if name][place]
            return self.kept(name, axis, shapes[name][axis])

        change = PATCHES[key(node)](Context(self.program, self.program.nodes[index], kept, kept_out))
        for slot, value in change.inputs.items():
            old = self.program.constants[self.name((index, slot))] if slot < len(node.input) else None
            if old is None or not np.array_equal(old, value):
                self.constants[index, slot] = value
        for name, value in change.attributes.items():
            set_attribute(node, name, value)

    def touches(self, index: int) -> bool:
        """Whether any tensor of a node loses something."""
        node = self.program.nodes[index]
        sites: list[Site] = [self.site(index, slot) for slot, name in enumerate(node.input) if name]
        sites += [name for name in node.output if name]
        return any(
            self.choice.gone(site, axis) is not None
            for site in sites
            for axis in range(len(self.trace.shapes.get(site, ())))
        )

    def resize_declared(self, graph: GraphProto) -> None:
        """Update the shapes that the file declares for its activations."""
        for info in graph.value_info:
            for axis, dim in enumerate(info.type.tensor_type.shape.dim):
                gone = self.choice.gone(info.name, axis)
                if gone is not None and dim.HasField("dim_value"):
                    dim.dim_value = int((~gone).sum())
        stale: set[str] = set()  # dequantised constants, which have other shapes now
        for index, node in enumerate(self.program.nodes if self.trace.stored else []):
            cut = any((index, slot) in self.constants for slot in range(len(node.input)))
            if node.output[0] in self.program.constants and (cut or not stale.isdisjoint(node.input)):
                stale.update(node.output)
        keep(graph.value_info, lambda value: value.name not in stale)


def operate(
    program: Program, trace: Trace, choice: Choice, values: Values, graph: GraphProto, taken: set[str]
) -> Mapping[int, str]:
    """Edit ``graph``, a copy of the program's; per node the constant that absorbed removed channels.

    Args:
        program: what the graph was read as.
        trace: its channels.
        choice: which of them go.
        values: what is known of them.
        graph: to be edited.
        taken: names in use anywhere in the model, to which new ones are added.
    """
    absorbed = absorb(program, trace, choice, values)
    Surgery(program, trace, choice, absorbed).operate(graph, taken)
    return absorbed.names


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Replace an attribute, or remove it if ``value`` is None."""
    for place, entry in enumerate(node.attribute):
        if entry.name == name:
            del node.attribute[place]
            break
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))
