"""Wire the rewritten model: leave out what vanished, put in the adapters at forks and joins."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from graph.model.program import Program, captured, key
from graph.rewriting.tidy import keep
from graph.rewriting.write import unused
from graph.tracing.planes import Choice
from graph.tracing.trace import JOINS, Trace
from graph.values import Mask


def adapt(
    program: Program, trace: Trace, choice: Choice, graph: GraphProto, nodes: list[NodeProto], taken: set[str]
) -> None:
    """Edit ``nodes``, which lie in ``graph`` in the order of ``program.nodes``, in place."""
    adapters = _Adapters(program, graph, taken)
    replaced: dict[str, str] = {}
    empty = {site for (site, _), plane in choice.planes.items() if site not in trace.edges and plane.gone.all()}
    for index, node in enumerate(nodes):
        for slot, name in enumerate(program.nodes[index].input):
            source = replaced.get(name, name)
            if (index, slot) in trace.edges and name not in choice.dropped:
                (axis,) = trace.varying((index, slot))
                kept = ~choice.planes[name, axis].gone
                wanted = ~choice.planes[(index, slot), axis].gone
                if not np.array_equal(kept, wanted) and wanted.any():
                    source = adapters.between(source, axis, kept, wanted)
            if source != name:
                node.input[slot] = source
        left = [
            name for slot, name in enumerate(node.input) if name not in choice.dropped and (index, slot) not in empty
        ]
        if key(node) in JOINS | {"Concat"} and not choice.dropped.issuperset(node.output):
            if len(left) == 1 and node.output[0] not in adapters.named:
                replaced[node.output[0]] = left[0]
            elif len(left) == 1:
                node.op_type = "Identity"
                del node.attribute[:]
            if len(left) < len(node.input):
                node.input[:] = left
    adapters.insert()
    keep(graph.node, lambda node: not choice.dropped.issuperset(node.output))
    keep(graph.value_info, lambda value: value.name not in choice.dropped and value.name not in replaced)


class _Adapters:
    """New nodes, one chain per tensor and set of channels, whoever uses it."""

    def __init__(self, program: Program, graph: GraphProto, taken: set[str]) -> None:
        self.program, self.graph, self.taken = program, graph, taken
        self.named = set(program.outputs)  # and by sub-graphs: these names must stay
        self.named.update(name for node in graph.node for name in captured(node))
        self.chains: dict[tuple[str, bytes], str] = {}
        self.nodes: dict[str, list[NodeProto]] = {}  # by the tensor that they start from
        self.origin: dict[str, str] = {}  # that tensor, of what a chain makes

    def between(self, name: str, axis: int, kept: Mask, wanted: Mask) -> str:
        """The tensor ``name``, which has the channels ``kept``, with ``wanted``: zero where it lacks one."""
        key = name, wanted.tobytes()
        if key not in self.chains:
            self.chains[key] = self._build(name, axis, kept, wanted)
        return self.chains[key]

    def _build(self, name: str, axis: int, kept: Mask, wanted: Mask) -> str:
        place = np.where(kept, np.cumsum(kept) - 1, kept.sum())  # what is not kept reads one zero behind the rest
        stem = unused(f"{name}_channels", self.taken)
        source = name
        origin = self.origin[stem] = self.origin.get(name, name)
        chain = self.nodes.setdefault(origin, [])
        if not kept[wanted].all():
            source = unused(f"{stem}_padded", self.taken)
            chain.append(self._pad(name, source, axis, rank=len(self.program.shapes[origin])))
        indices = numpy_helper.from_array(place[wanted].astype(np.int64), unused(f"{stem}_indices", self.taken))
        self.graph.initializer.append(indices)
        chain.append(helper.make_node("Gather", [source, indices.name], [stem], name=stem, axis=axis))
        return stem

    def _pad(self, name: str, out: str, axis: int, rank: int) -> NodeProto:
        widths = [0] * (2 * rank)
        widths[rank + axis] = 1
        if self.program.opset < 11:
            return helper.make_node("Pad", [name], [out], name=out, pads=widths)
        pads = numpy_helper.from_array(np.array(widths, np.int64), unused(f"{out}_widths", self.taken))
        self.graph.initializer.append(pads)
        return helper.make_node("Pad", [name, pads.name], [out], name=out)

    def insert(self) -> None:
        """Put every chain behind the node that computes its tensor, or first if the tensor is an input."""
        for place in reversed(range(len(self.graph.node))):
            for name in self.graph.node[place].output:
                for node in reversed(self.nodes.pop(name, [])):
                    self.graph.node.insert(place + 1, node)
        for chain in self.nodes.values():
            for node in reversed(chain):
                self.graph.node.insert(0, node)
