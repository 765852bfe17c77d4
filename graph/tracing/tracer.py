"""Step 1: which elements are the same channel?

Every element of every activation gets an integer channel id, in a collapsed array of the tensor's shape. Data movement
is executed on the ids, element-wise ops say that the ids which meet are the same, and ops with a signature make
new ids and say which *hyperplanes* (all elements with one index along one axis) of their operands go together.
Connected components are solved once, at the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from onnx import NodeProto
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graph.model.evaluate import CannotEvaluate
from graph.model.nodes import bodies
from graph.model.program import Program, Shape, captured, key
from graph.tracing.contracted import Contraction
from graph.tracing.holds import Holds
from graph.tracing.movement import data_inputs, move, touched
from graph.tracing.rules import MOVEMENT, elementwise, executed, signature
from graph.tracing.sites import too_long
from graph.tracing.trace import JOINS, Ids, Link, Site, Trace

#: An operand of an element-wise op, with its ids and its full shape at the output's rank.
Operand = tuple[Site, Ids, Shape]


def trace(program: Program) -> Trace:
    """Channel ids for every tensor of ``program``."""
    tracer = _Tracer(program)
    for name in program.inputs:
        tracer.opaque(None, name, "input")
    for index, node in enumerate(program.nodes):
        tracer.visit(index, node)
    tracer.blocks()
    for name in program.outputs:
        tracer.freeze(None, name, None, "output")
    return tracer.finish()


class _Tracer(Holds):
    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.same: list[tuple[Ids, Ids]] = []
        self.uses = Counter(name for node in program.nodes for name in [*node.input, *captured(node)])
        self.uses.update(program.outputs)
        self.concatenated = {node.output[0] for node in program.nodes if key(node) == "Concat"}

    def use(self, index: int, slot: int) -> Site:
        """Like `site`, but at a fork or join the use gets channels of its own.

        Movement has none: a Gather before a Concat is better placed behind it.
        """
        node, name = self.program.nodes[index], self.program.nodes[index].input[slot]
        site = self.site(index, slot)
        if site != name or key(node) in MOVEMENT or len(self.trace.varying(name)) != 1:
            return site
        if self.uses[name] > 1 or key(node) in JOINS or name in self.concatenated:
            unique, places = np.unique(self.trace.ids[name], return_inverse=True)
            self.trace.edges[index, slot] = name
            self.put((index, slot), self.fresh(unique.shape)[places.reshape(self.trace.ids[name].shape)])
        return self.site(index, slot)

    # -- ops

    def visit(self, index: int, node: NodeProto) -> None:
        constants = self.program.constants
        if all(name in constants for name in node.output if name):
            return
        if key(node) == "Shape":
            for axis in self.sizes.stay(node.output[0]):
                self.freeze(index, node.input[0], axis, "its size is read")
        if all(name in self.program.probed for name in node.output if name):  # sizes and indices, no channels
            for name in node.output:
                self.opaque(index, name, "shape or index")
            return
        known = all(name in self.program.shapes for name in [*node.input, *node.output] if name)
        if known:
            if elementwise(self.program, node):
                return self.elementwise(index, node)
            if executed(self.program, node):
                return self.movement(index, node)
        found = signature(self.program, node) if known else None
        if found is not None:
            slots = enumerate(node.input[: len(found.operands)])
            operands = [self.use(index, slot) if name else None for slot, name in slots]
            Contraction(self, index, node, found).trace(operands)
            return self.adapt(index, node)
        inside = "enters a graph inside" if bodies(node) else "no rule"
        self.give_up(index, node, inside if known else "unknown shape")

    def give_up(self, index: int, node: NodeProto, why: str) -> None:
        """Nothing may leave what this node touches."""
        for site in [*(self.site(index, slot) for slot in range(len(node.input))), *captured(node)]:
            self.freeze(index, site, None, why)
        for name in node.output:
            if name:
                self.opaque(index, name, why)

    def movement(self, index: int, node: NodeProto) -> None:
        operands = data_inputs(node)
        constants = self.program.constants
        arrays: list[Ids] = []
        for slot, name in enumerate(operands):
            if name in constants and name not in self.trace.ids:
                self.put((index, slot), self.fresh(self.program.shapes[name]))
            arrays.append(self.trace.ids[self.site(index, slot)])
        fill = self.fresh(self.program.shapes[node.output[0]][:0])
        if key(node) == "Pad":  # padded channels are channels of their own
            fill = self.fresh((sum(self.program.shapes[node.output[0]]),))
        try:
            outputs = self.strung(node, arrays) or move(self.program, node, arrays, fill)
        except CannotEvaluate as reason:
            return self.give_up(index, node, str(reason))
        for name, ids in zip([name for name in node.output if name], outputs, strict=True):
            self.put(name, ids)
        for name in node.input[len(operands) :]:
            self.freeze(index, name, None, "shape or index")
        if key(node) == "Concat":
            self.stack(index, node)
        self.unwritable(index, node)

    def strung(self, node: NodeProto, arrays: list[Ids]) -> list[Ids]:
        """Pieces in a row that have the same channels all along, as a class token before patches, go together.

        Apart, they would make as many ids as there are places times channels, and no more of them could go.
        """
        axes = touched(self.program, node) if key(node) == "Concat" else set()
        if not axes or all(ids.size == 1 for ids in arrays) or any(ids.shape[a] > 1 for ids in arrays for a in axes):
            return []
        shape = np.broadcast_shapes(*(ids.shape for ids in arrays))
        first, *others = (np.broadcast_to(ids, shape) for ids in sorted(arrays, key=np.size, reverse=True))
        self.same += [(ids, first) for ids in others]
        return [first]

    def stack(self, index: int, node: NodeProto) -> None:
        """Operands of a Concat stay equally long along its other axes, even those of which nothing is left."""
        out = node.output[0]
        for slot in range(len(node.input)):
            site = self.site(index, slot)
            for axis in set(self.trace.varying(site)).intersection(self.trace.varying(out)):
                if axis not in touched(self.program, node):
                    self.trace.links.append(Link(index, ((out, axis), (site, axis))))

    def elementwise(self, index: int, node: NodeProto) -> None:
        """Operands that are not broadcast have the channels of the output, and the others are read by them."""
        out = node.output[0]
        shape = self.program.shapes[out]
        rank = len(shape)
        operands = self.operands(index, node)
        if not operands:  # constants of an unknown kind: nothing to remove
            return self.opaque(index, out, "no channels")
        extents = [max(ids.shape[axis] for _, ids, _ in operands) for axis in range(rank)]
        broadcast = [any(size == 1 < extents[axis] for axis, size in enumerate(full)) for _, _, full in operands]
        peers = [ids for (_, ids, _), wide in zip(operands, broadcast, strict=True) if not wide]
        constant = self.constant_axes(index, node, operands, rank)
        cause = next(filter(None, map(self.cause, peers)), None)
        if cause and not any(constant):
            self.put(out, self.fresh((1,) * rank))
            self.stick(out, cause)
            self.trace.freezes += [replace(cause, site=site, axis=None) for site, _, _ in operands]
            return
        sizes = [shape[axis] if constant[axis] else extents[axis] for axis in range(rank)]
        long = too_long(sizes)
        anew = bool(long) or any(constant)
        if anew or not peers or any(ids.shape != tuple(extents) for ids in peers[:1]):
            ids = self.fresh(tuple(1 if axis in long else size for axis, size in enumerate(sizes)))
        else:
            ids = peers[0]
        self.put(out, ids)
        for operand, wide in zip(operands, broadcast, strict=True):
            if wide or anew:
                self.spread(index, out, operand, long)
            elif operand[1] is not ids:
                self.same.append((np.broadcast_to(operand[1], ids.shape), ids))

    def operands(self, index: int, node: NodeProto) -> list[Operand]:
        """The operands of an element-wise op that have channels; constants follow its output."""
        rank = len(self.program.shapes[node.output[0]])
        found: list[Operand] = []
        for slot, name in enumerate(node.input):
            if name in self.trace.ids:
                site = self.use(index, slot)
                own = self.trace.ids[site]
                lead = (1,) * (rank - own.ndim)
                found.append((site, own.reshape(lead + own.shape), lead + self.shape(name)))
            elif name:
                self.trace.follows[index, slot] = node.output[0]
        return found

    def spread(self, index: int, out: str, operand: Operand, long: set[int]) -> None:
        """Tie an operand to an output that has ids of its own, axis by axis."""
        site, own, full = operand
        offset = own.ndim - len(self.shape(site))
        for axis in range(own.ndim):
            if own.shape[axis] > 1 and axis in long:
                self.freeze(index, site, axis - offset, "mixed")
            elif own.shape[axis] > 1:
                self.trace.links.append(Link(index, ((out, axis), (site, axis - offset))))
            elif full[axis] > 1:  # it is all one there, and stays as long
                self.freeze(index, out, axis, "mixed")

    def constant_axes(self, index: int, node: NodeProto, operands: list[Operand], rank: int) -> list[bool]:
        """Axes that only constants have: their channels are born here, all activations being broadcast along them."""
        born = [False] * rank
        for slot, name in enumerate(node.input):
            if (index, slot) in self.trace.follows:
                shape = self.program.shapes[name]
                for axis, size in enumerate(shape, rank - len(shape)):
                    if size > 1 and all(full[axis] == 1 for _, _, full in operands):
                        born[axis] = True
        return born

    # -- components

    def finish(self) -> Trace:
        """Merge the ids that were said to be the same."""
        result = self.trace
        self.dynamic()
        if self.same:
            left = np.concatenate([a.ravel() for a, _ in self.same])
            right = np.concatenate([b.ravel() for _, b in self.same])
            graph = coo_array((np.ones(left.size, np.bool_), (left, right)), (result.count, result.count))
            count, labels = connected_components(graph, directed=False)
            labels = labels.astype(np.int64)
            result.ids = {site: labels[ids] for site, ids in result.ids.items()}
            result.count = int(count)
        return result
