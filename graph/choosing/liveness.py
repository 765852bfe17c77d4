"""What is left without any channel, and who would miss it?

A tensor may lose everything if every reader is gone too, is a Concat, or is a sum that keeps another operand of its
full shape. Otherwise one channel stays.
"""

from __future__ import annotations

from onnx import NodeProto

from graph.model.program import Program, key
from graph.tracing.planes import Axis, Choice
from graph.tracing.trace import JOINS, Trace


class Liveness:
    """The readers of every activation, ready to be asked about one `Choice` after the other."""

    def __init__(self, program: Program, trace: Trace) -> None:
        self.program, self.trace = program, trace
        self.outputs = set(program.outputs)

    def judge(self, choice: Choice) -> tuple[set[str], list[Axis]]:
        """Tensors that vanish with all that computed them, and axes that lost everything but are still read."""
        empty = self._empty(choice)
        dropped: set[str] = set()
        starved: list[Axis] = []
        for node in reversed(self.program.nodes):
            gone = [name for name in node.output if name in empty]
            if gone and len(gone) == len(node.output) and all(self._spared(name, dropped, empty) for name in gone):
                dropped.update(gone)
            else:
                starved += [empty[name] for name in gone]
        starved += [
            (edge, axis)
            for edge in self.trace.edges
            for axis in self.trace.varying(edge)
            if choice.planes[edge, axis].gone.all() and not dropped.issuperset(self.program.nodes[edge[0]].output)
        ]
        return dropped, starved[:1]  # the last in the graph: what it keeps, its makers keep as well

    def _empty(self, choice: Choice) -> dict[str, Axis]:
        """Activations without any channel, by the axis that lost them all."""
        found: dict[str, Axis] = {}
        for axis, plane in choice.planes.items():
            if isinstance(axis[0], str) and plane.gone.all():
                found.setdefault(axis[0], axis)
        return found

    def _spared(self, name: str, dropped: set[str], empty: dict[str, Axis]) -> bool:
        """Whether nobody needs ``name``."""
        readers = [self.program.nodes[index] for index in self.program.consumers.get(name, [])]
        return name not in self.outputs and all(self._spares(node, dropped, empty) for node in readers)

    def _spares(self, node: NodeProto, dropped: set[str], empty: dict[str, Axis]) -> bool:
        """Whether a node can do without an operand."""
        if all(out in dropped for out in node.output if out) or key(node) == "Concat":
            return True
        shapes, whole = self.program.shapes, node.output[0]
        operands = [other for other in node.input if other not in self.program.constants and other not in empty]
        return key(node) in JOINS and any(shapes[other] == shapes[whole] for other in operands)
