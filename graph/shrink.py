"""The public verbs: what could go (`analyse`), and the model without what provably does nothing (`shrink`)."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from graph.certificate import Certificate, certify
from graph.choice import choose
from graph.counts import size
from graph.planes import Choice
from graph.program import Program, read
from graph.surgery import operate
from graph.trace import Trace, trace
from graph.values import Values, propagate


@dataclass(frozen=True)
class Analysis:
    """What the compiler knows about a model.

    Attributes:
        program: nodes in order, shapes, constants.
        trace: which elements are the same channel.
        values: what is known without knowing the input.
    """

    program: Program
    trace: Trace
    values: Values

    def offered(self) -> Choice:
        """What could go if its weights were zero: the structure alone."""
        return choose(self.program, self.trace, None)

    def removable(self, align: int = 1) -> Choice:
        """What may go as the weights are; widths stay multiples of ``align`` where they can."""
        return choose(self.program, self.trace, self.values, align)


def analyse(model: ModelProto) -> Analysis:
    """Find the channels of ``model`` and what is known about them; the model is not changed.

    Raises:
        ModelError: the graph is broken: a cycle, a missing producer, contradicting shapes.
    """
    program = read(model)
    return Analysis(program, trace(program), propagate(program))


def shrink(model: ModelProto, *, align: int = 1) -> tuple[ModelProto, Certificate]:
    """A new model without every channel that provably has no effect, and the certificate that says what went and why.

    The result computes the same function, up to the rounding of sums that were reordered, for finite activations.

    Args:
        model: any ONNX model; it is not changed.
        align: dead channels stay until every width is a multiple of this, where the tensor has enough of them. On a
            CPU 63 channels run slower than 64.

    Raises:
        ModelError: the graph is broken: a cycle, a missing producer, contradicting shapes.
    """
    found = analyse(model)
    choice = found.removable(align)
    slim, absorbed = operate(found.program, found.trace, choice, found.values)
    sizes = size(found.program), size(read(slim))
    return slim, certify(found.program, found.trace, found.values, choice, absorbed, sizes)
