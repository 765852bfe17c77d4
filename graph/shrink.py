"""The public verbs: what could go (`analyse`), and the model without what provably does nothing (`shrink`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from onnx import GraphProto, ModelProto

from graph.choosing.adapters import Select
from graph.choosing.choice import choose
from graph.counts import size
from graph.files.copies import complete, skeleton
from graph.model.nodes import bodies
from graph.model.program import Program
from graph.model.reader import read
from graph.reporting.certificate import Certificate, certify
from graph.rewriting.surgery import operate
from graph.rewriting.write import names_taken
from graph.tracing.planes import Choice
from graph.tracing.trace import Trace
from graph.tracing.tracer import trace
from graph.values import Values, propagate


@dataclass(frozen=True)
class Analysis:
    """What the compiler knows about a graph.

    Attributes:
        program: nodes in order, shapes, constants.
        trace: which elements are the same channel.
        values: what is known without knowing the input.
        bodies: the same for the graphs inside nodes, by index of the node and name of the attribute.
    """

    program: Program
    trace: Trace
    values: Values
    bodies: dict[tuple[int, str], Analysis] = field(default_factory=dict)

    def offered(self) -> Choice:
        """What could go if its weights were zero: the structure alone."""
        return choose(self.program, self.trace, None)

    def removable(self, align: int = 1, select: Select = "auto") -> Choice:
        """What may go as the weights are; for the options see `shrink`."""
        return choose(self.program, self.trace, self.values, align, select)

    def within(self, graph: GraphProto) -> Iterator[tuple[Analysis, GraphProto]]:
        """This analysis and those of the graphs inside nodes, at any depth, each with its graph in a copy.

        Args:
            graph: the program's graph, or a copy of it.
        """
        yield self, graph
        nodes = self.program.matching(graph) if self.bodies else []
        for (index, name), inner in self.bodies.items():
            yield from inner.within(dict(bodies(nodes[index]))[name])


def analyse(model: ModelProto) -> Analysis:
    """Find the channels of ``model`` and what is known about them; the model is not changed.

    Raises:
        ModelError: the graph is broken: a cycle, a missing producer, contradicting shapes.
    """
    return _analyse(read(model))


def shrink(model: ModelProto, *, align: int = 1, select: Select = "auto") -> tuple[ModelProto, Certificate]:
    """A new model without every channel that provably has no effect, and the certificate that says what went and why.

    The result computes the same function, up to the rounding of sums that were reordered, for finite activations.
    Model-local functions come out inlined.

    Args:
        model: any ONNX model; it is not changed.
        align: dead channels stay until every width is a multiple of this, where the tensor has enough of them. On a
            CPU 63 channels run slower than 64.
        select: where branches at a fork or join need different channels, a Gather or Pad can give each its own:
            ``auto`` inserts one where it saves more than it costs on a CPU, ``always`` where it saves anything.

    Raises:
        ModelError: the graph is broken: a cycle, a missing producer, contradicting shapes.
    """
    found = analyse(model)
    source, probe, full = found.program.model, found.program.probe, size(found.program)
    slim = skeleton(source)
    taken = names_taken(slim.graph)
    parts = []
    for each, graph in reversed(list(found.within(slim.graph))):  # a graph inside a node before the one around it
        choice = each.removable(align, select)
        absorbed = operate(each.program, each.trace, choice, each.values, graph, taken)
        parts.append(certify(each.program, each.trace, each.values, choice, absorbed, full))
    del found, each, choice  # the weights take their place in memory
    complete(slim, source)
    certificate, *inner = reversed(parts)
    for part in inner:
        certificate.include(part)
    certificate.output = size(read(slim, [[probe]]))
    return slim, certificate


def _analyse(program: Program) -> Analysis:
    inner = {place: _analyse(body) for place, body in program.bodies.items()}
    return Analysis(program, trace(program), propagate(program), inner)
