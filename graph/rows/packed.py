"""Projections that are packed: one product makes queries, keys and values, which then are cut out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from graph.choosing.weights import weight
from graph.files.copies import complete, skeleton
from graph.model.nodes import attributes, key
from graph.model.program import Program
from graph.rewriting.write import names_taken, unused
from graph.rows.facts import RowTrace
from graph.rows.needs import Needs
from graph.tracing.rules import elementwise, executed, signature


def unpack(trace: RowTrace, need: Needs) -> ModelProto | None:
    """A copy in which parts of a product that need fewer rows than the others have a product of their own.

    `shrink` then drops from every product the columns that nobody reads. None if there are no such parts.
    """
    program = trace.program
    chains = {
        name: chain
        for index, node in enumerate(program.nodes)
        if key(node) in ("Gather", "Slice", "Split")
        for name in node.output
        if _fewer(trace, need, index, name) and (chain := _chain(program, node.input[0]))
    }
    if not chains:
        return None
    surgeon = _Surgeon(program)
    for index, node in enumerate(program.nodes):
        if not chains.keys().isdisjoint(node.output):
            surgeon.separate(index, {name: chains.get(name, []) for name in node.output if name})
    return complete(surgeon.result, program.model)


class _Surgeon:
    def __init__(self, program: Program) -> None:
        self.program, self.result = program, skeleton(program.model)
        self.graph: GraphProto = self.result.graph
        self.taken = names_taken(self.graph)
        self.nodes = program.matching(self.graph)

    def separate(self, index: int, chains: dict[str, list[int]]) -> None:
        """Give parts that a node cuts out copies of the nodes that they come through."""
        node = self.nodes[index]
        made: list[NodeProto] = []
        sources: dict[str, str] = {}
        for name, chain in chains.items():
            sources[name] = node.input[0]
            renamed: dict[str, str] = {}
            for each in chain:
                made.append(copy := NodeProto())
                copy.CopyFrom(self.nodes[each])
                copy.name, sources[name] = (unused(f"{old}_rows", self.taken) for old in (copy.name, copy.output[0]))
                copy.input[:] = [renamed.get(read, read) for read in copy.input]
                renamed[copy.output[0]] = copy.output[0] = sources[name]
        place = next(place for place, other in enumerate(self.graph.node) if other.output == node.output)
        if key(node) == "Split":  # one part of it could not go
            made += self.slices(node, sources)
            del self.graph.node[place]
        else:
            (node.input[0],) = sources.values()
        for new in reversed(made):
            self.graph.node.insert(place, new)

    def slices(self, node: NodeProto, sources: dict[str, str]) -> list[NodeProto]:
        """A Split as one Slice for every part."""
        axis, start, made = attributes(node).get("axis", 0), 0, []
        for name, source in sources.items():
            end = start + self.program.shapes[name][axis]
            bounds: dict[str, Any] = {"starts": [start], "ends": [end], "axes": [axis]}
            inputs = [source]
            if self.program.opset >= 10:
                for each, value in bounds.items():
                    inputs.append(unused(f"{name}_{each}", self.taken))
                    self.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), inputs[-1]))
                bounds = {}
            made.append(helper.make_node("Slice", inputs, [name], name=unused(f"{name}_part", self.taken), **bounds))
            start = end
        return made


def _fewer(trace: RowTrace, need: Needs, index: int, name: str) -> bool:
    """Whether a part needs fewer rows than there will be."""
    return any(
        made[0] == name and need[made].sum() < (need[place] & trace.own(made)).sum()
        for place, made in trace.links.get(index, ())
    )


def _chain(program: Program, source: str) -> list[int]:
    """The nodes from a product with weights down to a tensor, if each of them reads one activation alone."""
    chain: list[int] = []
    while source in program.makers:
        node = program.nodes[program.makers[source]]
        chain.insert(0, program.makers[source])
        read = [name for name in node.input if name and name not in program.constants and name not in program.probed]
        found = signature(program, node)
        if len(read) != 1 or len(node.output) != 1:
            break
        if found is not None and found.summed:
            return chain if weight(program, node, found) is not None else []
        if not (executed(program, node) or elementwise(program, node)):
            break
        source = read[0]
    return []
