"""What a model is made of: its size, the channel classes that may go, and the ops that hold others back.

Every parameter is counted once, with the channel that it helps to make: a row of a weight, an entry of a bias. Whatever
reads a channel shrinks with it, but is counted where it makes channels of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto

from graph.candidates.classes import offer
from graph.counts import Size, parameters, size, stored
from graph.model.nodes import bodies
from graph.model.program import Program, label
from graph.reporting.certificate import not_finite
from graph.shrink import Analysis
from graph.tracing.channels import Channels
from graph.tracing.planes import Axis, Cause
from graph.tracing.rules import signature
from graph.tracing.signature import OPAQUE
from graph.tracing.trace import Use, name_of


@dataclass
class Family:
    """Classes that differ only by their index: as many channels of the same coupled tensors.

    Attributes:
        classes: how many.
        tensors: the constants that make them, as ``name[axis]``.
        parameters: in these constants.
    """

    classes: int
    tensors: list[str] = field(default_factory=list)
    parameters: int = 0


@dataclass(frozen=True)
class Held:
    """What keeps channels from going.

    Attributes:
        op: the operator, or the input or output of the model; empty for ``last`` and ``unused``.
        reason: as in a certificate; ``last`` is a width of 1 or a value that all channels share, ``unused`` a constant
            that nothing reads.
        why: what is in the way at a freezing operator.
        channels: how many.
        parameters: that make those channels.
    """

    op: str
    reason: str
    why: str
    channels: int
    parameters: int


@dataclass(frozen=True)
class Inventory:
    """What `inspect` shows. The parameters of ``offered`` and of ``held`` add up to those of ``size``.

    Attributes:
        size: parameters, MACs, bytes.
        offered: families of channel classes that may go, the costliest first.
        held: what keeps the other channels, the costliest first.
        not_finite: weights with NaN or infinities: what they read stays, since 0 * inf is not 0.
    """

    size: Size
    offered: list[Family]
    held: list[Held]
    not_finite: list[str]


def inventory(analysis: Analysis) -> Inventory:
    """Take stock of a model, with all graphs inside its nodes."""
    graphs = list(analysis.within(analysis.program.graph))
    ledgers = [_Ledger(each) for each, _ in graphs]
    for own, (each, graph) in zip(ledgers, graphs, strict=True):
        own.enter_closed(graph, each.bodies.keys())
        for name, count in stored(graph).items():  # a constant may be used by graphs inside only
            next((ledger for ledger in [own, *ledgers] if name in ledger.uses), own).enter(name, count)
    return Inventory(
        size(analysis.program),
        sorted((family for ledger in ledgers for family in ledger.families), key=lambda family: -family.parameters),
        sorted((held for ledger in ledgers for held in ledger.held()), key=lambda held: -held.parameters),
        list(dict.fromkeys(name for ledger in ledgers for name in ledger.not_finite())),
    )


class _Ledger:
    """Two columns, offered and held; every parameter is entered in one of them."""

    def __init__(self, analysis: Analysis) -> None:
        self.program, self.trace, self.values = analysis.program, analysis.trace, analysis.values
        self.choice = analysis.offered()
        self.uses = _uses(self.program)
        self.found = offer(analysis)
        counts = np.bincount(self.found.family).tolist()
        self.families = [Family(count, names) for count, names in zip(counts, self.found.tensors(), strict=True)]
        channels = Channels(self.trace, self.choice.planes, through_edges=True, units=True)
        self.labels, self.causes = channels.labels, np.zeros(channels.count, np.int32)
        for groups in self.trace.groups:  # which hold outputs that no row of a weight makes
            if groups.outputs in self.labels:
                why = self.choice.cause("group", label(self.program.nodes[groups.node]))
                self.causes[self.labels[groups.outputs]] = why
        for axis, plane in self.choice.planes.items():
            self.causes[self.labels[axis][~plane.gone]] = plane.why[~plane.gone]
        freezes = sorted(self.trace.freezes, key=lambda freeze: bool(self.trace.varying(freeze.site)))
        self.why = {freeze.by: freeze.why for freeze in freezes if freeze.node is not None}
        self.parameters: dict[Cause, int] = {}
        self.channels: dict[Cause, set[int]] = {}

    def enter(self, name: str, size: int) -> None:
        """Book a stored constant."""
        use, left = self.uses.get(name), size
        axes = [] if use is None else self.making(use)
        for axis in axes:
            own = self.found.planes[axis]
            left //= own.size
            for number, count in enumerate(np.bincount(self.found.family[own[own >= 0]])):
                self.families[number].parameters += int(count) * left
            left *= int(np.count_nonzero(own < 0))
        if axes:
            stay = self.labels[axes[0]][self.found.planes[axes[0]] < 0]
            for why in np.unique(self.causes[stay]):
                own = stay[self.causes[stay] == why]
                self.hold(self.choice.causes[why], own.size * left // stay.size, own.tolist())
        else:
            self.hold(self.blocker(use), left, [])

    def enter_closed(self, graph: GraphProto, opened: Collection[tuple[int, str]]) -> None:
        """Book the constants of graphs inside the nodes of ``graph`` that no analysis looked into."""
        places = {tuple(node.output): index for index, node in enumerate(self.program.nodes)}
        for node in graph.node:
            place = places.get(tuple(node.output))
            for name, body in bodies(node):
                if place is None:
                    self.hold(Cause("unused", ""), parameters(body), [])
                elif (place, name) not in opened:
                    self.hold(Cause("frozen", label(node)), parameters(body), [])

    def making(self, use: Use) -> list[Axis]:
        """The axes along which a use of a constant makes channels."""
        shape = self.program.shapes[name_of(self.program, use)]
        axes: list[Axis] = [(use, axis) for axis in range(len(shape))]
        if use in self.trace.follows:
            out = self.trace.follows[use]
            lead = len(self.program.shapes[out]) - len(shape)
            axes = [(out, axis + lead) for axis, size in enumerate(shape) if size > 1]
        return [axis for axis in axes if axis in self.found.planes and axis not in self.trace.summed]

    def blocker(self, use: Use | None) -> Cause:
        """Why a constant makes no channels that could go one by one."""
        if use is None:
            return Cause("unused", "")
        node = self.program.nodes[use[0]]
        if any(name not in self.program.shapes for name in [*node.input, *node.output] if name):
            self.why.setdefault(label(node), "unknown shape")
            return Cause("frozen", label(node))
        found = signature(self.program, node)
        if found is not None and use not in self.trace.follows:
            self.why.setdefault(label(node), "mixed")
            letters = set(found.operands[use[1]]) - {OPAQUE}
            return Cause("last", "") if letters.intersection(*found.outputs) else Cause("frozen", label(node))
        for freeze in self.trace.freezes:
            if freeze.node == use[0] or (freeze.axis is None and freeze.site in node.output):
                return Cause("frozen" if freeze.node is not None else freeze.why, freeze.by)
        return Cause("last", "")

    def hold(self, cause: Cause, count: int, channels: list[int]) -> None:
        if count:
            self.parameters[cause] = self.parameters.get(cause, 0) + count
            self.channels.setdefault(cause, set()).update(channels)

    def held(self) -> list[Held]:
        """The right column."""
        rows = []
        for cause, count in self.parameters.items():
            why = self.why.get(cause.op, "dynamic size") if cause.reason == "frozen" else ""
            rows.append(Held(cause.op, cause.reason, why, len(self.channels[cause]), count))
        return rows

    def not_finite(self) -> list[str]:
        """The weights with NaN or infinities."""
        return [name_of(self.program, use) for use in not_finite(self.program, self.trace, self.values)]


def _uses(program: Program) -> dict[str, Use]:
    """For every constant, the first node and input slot that reads it or what is computed from it alone."""
    uses: dict[str, Use] = {}
    derived: dict[str, str] = {}
    for index, node in enumerate(program.nodes):
        constant = all(name in program.constants for name in node.output if name)
        for slot, name in enumerate(node.input):
            if name in program.constants and constant:
                derived.setdefault(name, node.output[0])
            elif name in program.constants:
                uses.setdefault(name, (index, slot))
    for name in reversed(list(derived)):  # the last computed first
        last = derived[name]
        if last in uses and program.constants[last].size == program.constants[name].size:
            uses.setdefault(name, uses[last])
    return uses
