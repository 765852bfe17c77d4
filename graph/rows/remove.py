"""The model without rows that nobody needs: gathered where they are needed for the last time, never computed after."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from graph.files.copies import complete, skeleton
from graph.model.evaluate import Array
from graph.model.nodes import attributes, key
from graph.model.reader import read as program_of
from graph.rewriting.patches import PATCHES, Context
from graph.rewriting.surgery import set_attribute
from graph.rewriting.tidy import tidy
from graph.rewriting.write import names_taken, unused, write_constants
from graph.rows.alone import MASK
from graph.rows.facts import RowTrace
from graph.rows.needs import Keep, needs
from graph.rows.packed import unpack
from graph.rows.plan import Plan
from graph.rows.trace import trace
from graph.shrink import shrink
from graph.tracing.rules import executed
from graph.tracing.trace import Use
from graph.values import Mask


def remove(model: ModelProto, keep: Keep | None = None) -> ModelProto:
    """A copy of ``model`` whose mixers look at fewer rows, and that computes no row which is not looked at.

    Every row that stays comes out as if the others had been masked, in attention and in means, in the original. With
    nothing in ``keep`` the outputs stay as they are: what goes is what nobody reads, such as all tokens but that of
    the class behind the last attention.

    Args:
        model: any ONNX model; it is not changed.
        keep: per mixer, by name, those indices of its axis that stay, at least one.

    Raises:
        ModelError: the graph is broken, or rows lie so that they cannot be cut.
    """
    keep = keep or {}
    return _Surgery(Plan(unpacked(model, keep), keep)).model()


def unpacked(model: ModelProto, keep: Keep) -> RowTrace:
    """The rows of ``model``, with products apart that make parts of which these mixers need different rows.

    Raises:
        ModelError: the graph is broken.
    """
    found = trace(program_of(model))
    apart = unpack(found, needs(found, keep))
    return found if apart is None else trace(program_of(shrink(apart)[0]))


class _Surgery:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.trace, self.program = plan, plan.trace, plan.program
        self.result = skeleton(self.program.model)
        self.taken = names_taken(self.result.graph)
        self.constants: dict[Use, Array] = {}

    def model(self) -> ModelProto:
        """The model of the plan."""
        graph = self.result.graph
        edited = self.program.matching(graph)
        self.cut()
        for index, node in enumerate(edited):
            self.patch(index, node)
        write_constants(self.program, graph, edited, self.constants, self.taken)
        self.gather(graph, edited)
        for info in graph.value_info:
            for axis, dim in enumerate(info.type.tensor_type.shape.dim):
                if dim.HasField("dim_value") and info.name in self.trace.rows:
                    dim.dim_value = int(self.plan.left(info.name, axis).sum())
        tidy(graph)
        return complete(self.result, self.program.model)

    def cut(self) -> None:
        """Constants lose what the outputs lose that they go into, and what nobody needs of themselves."""
        for use, places in self.trace.follows.items():
            for axis, place in places:
                self.compress(use, axis, self.plan.left(place[0], self.trace.at(place).axes[0]))
        for site, each in self.trace.rows.items():
            for rows in each:
                if isinstance(site, tuple):
                    self.compress(site, rows.axes[0], self.plan.left(site, rows.axes[0]))
        for (use, element), (name, axis) in self.trace.sizes.items():
            left = self.plan.left(name, axis)
            if not left.all():
                self.constants[use] = self.constant(use).copy()
                self.constants[use].flat[element] = left.sum()

    def constant(self, use: Use) -> Array:
        """A constant as it is by now."""
        index, slot = use
        return self.constants.get(use, self.program.constants[self.program.nodes[index].input[slot]])

    def compress(self, use: Use, axis: int, left: Mask) -> None:
        """Cut a use of a constant."""
        if not left.all():
            self.constants[use] = self.constant(use).compress(left, axis)

    def patch(self, index: int, node: NodeProto) -> None:
        """Rewrite sizes, bounds and indices of what moves rows, and what attention counts."""
        if key(node) == "Attention" and attributes(node).get("is_causal", 0):
            return self.causal(index, node)
        if key(node) not in PATCHES or not executed(self.program, self.program.nodes[index]):
            return
        names = [name for name in node.output if name]
        change = PATCHES[key(node)](
            Context(
                self.program,
                self.program.nodes[index],
                lambda slot, axis: self.plan.left(self.trace.site(index, slot), axis),
                lambda place, axis: self.plan.left(names[place], axis),
            )
        )
        for slot, value in change.inputs.items():
            if slot >= len(node.input) or not np.array_equal(self.program.constants[node.input[slot]], value):
                self.constants[index, slot] = value
        for name, value in change.attributes.items():
            set_attribute(node, name, value)

    def causal(self, index: int, node: NodeProto) -> None:
        """Attention to what came before, where the places of rows no longer say what did."""
        mixer = self.trace.mixers.get(index)
        queries = self.plan.left(node.output[0], len(self.program.shapes[node.output[0]]) - 2)
        looked_at = np.ones(self.program.shapes[node.input[1]][-2], np.bool_)
        if mixer is not None:
            looked_at = self.plan.kept[index][mixer.rows]
        if not (queries.all() and looked_at.all()):
            before = np.tri(queries.size, looked_at.size, dtype=np.bool_)
            self.constants[index, MASK] = before[np.ix_(queries, looked_at)]
            set_attribute(node, "is_causal", None)

    def gather(self, graph: GraphProto, nodes: list[NodeProto]) -> None:
        """Put a Gather behind every tensor that some node reads fewer rows of."""
        read: dict[tuple[int, str], str] = {}
        made: dict[tuple[str, int, bytes], str] = {}
        behind: dict[str, list[NodeProto]] = {}
        for (index, place), wanted in self.plan.gathers.items():
            (axis,), origin = self.trace.at(place).axes, str(place[0])
            name = read.get((index, origin), origin)
            indices = np.flatnonzero(wanted[self.trace.at(place).ids.ravel()][self.plan.left(origin, axis)])
            entry = name, axis, indices.tobytes()
            if entry not in made:
                made[entry] = out = unused(f"{origin}_rows", self.taken)
                graph.initializer.append(numpy_helper.from_array(indices, unused(f"{out}_indices", self.taken)))
                gather = helper.make_node("Gather", [name, graph.initializer[-1].name], [out], name=out, axis=axis)
                behind.setdefault(origin, []).append(gather)
            read[index, origin] = made[entry]
        for (index, origin), name in read.items():
            nodes[index].input[:] = [name if each == origin else each for each in nodes[index].input]
        for position in reversed(range(len(graph.node))):
            for name in graph.node[position].output:
                for gather in reversed(behind.pop(name, [])):
                    graph.node.insert(position + 1, gather)
        for chain in behind.values():  # behind inputs
            for gather in reversed(chain):
                graph.node.insert(0, gather)
