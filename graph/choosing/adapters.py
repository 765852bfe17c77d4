"""Forks and joins: a consumer that ignores channels which another one needs, a sum that one operand adds nothing to.

At such a place the use of a tensor has channels of its own (`trace.edges`). Where they differ from the tensor's, the
rewritten model needs an *adapter*: a Gather that selects what the consumer reads, or a zero channel and a Gather that
embed a narrow operand in a wide sum. An adapter costs memory traffic and undoes fusions, so it must pay for itself,
unless the user says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from graph.counts import node_macs
from graph.model.program import Program, key
from graph.tracing.channels import Channels
from graph.tracing.planes import Axis, Choice
from graph.tracing.trace import JOINS, Trace, Use, name_of
from graph.values import Mask, Values

# Multiply-accumulates that take as long as one element through an adapter, on ONNX Runtime's CPU: with Gathers
# everywhere a ResNet-164 is slower, a DenseNet-40 takes 0.7x.
SELECT_COST, EMBED_COST = 48, 100
NODE_COST = 50_000  # and as long as one more node by itself

Select = Literal["auto", "never", "always"]

#: Who wants adapters always, takes them wherever they save a multiply-accumulate; never, at no saving.
PRICES: dict[Select, float] = {"auto": 1.0, "never": math.inf, "always": 0.0}


@dataclass
class Adapter:
    """What one use may do with the channels of its tensor.

    Attributes:
        use: the use.
        tensor: axis of the tensor.
        edge: axis of the use.
        select: whether the use may do without channels that the tensor keeps.
        zero: channels that the tensor may do without although the use keeps them: it adds zeros there.
    """

    use: Use
    tensor: Axis
    edge: Axis
    select: bool
    zero: Mask

    def apply(self, choice: Choice) -> bool:
        """Withdraw what must stay; true if that is news."""
        tensor, edge = choice.planes[self.tensor], choice.planes[self.edge]
        changed = tensor.withdraw(~edge.gone & ~self.zero, edge.why)
        return (not self.select and edge.withdraw(~tensor.gone, tensor.why)) or changed


def adapters(program: Program, trace: Trace, values: Values | None) -> list[Adapter]:
    """Every place where an adapter might stand."""
    found = []
    for use, name in trace.edges.items():
        (axis,) = trace.varying(use)
        zero = np.zeros(trace.shapes[name][axis], np.bool_)
        if values is not None and key(program.nodes[use[0]]) in JOINS:
            known, value = values.along(name, axis)
            zero = known & (value == 0)
        found.append(Adapter(use, (name, axis), (use, axis), values is not None, zero))
    return found


def reject(program: Program, trace: Trace, choice: Choice, found: list[Adapter], select: Select) -> bool:
    """Forbid the adapters that would cost more than they save; true if there were any."""
    used = [adapter for adapter in found if _differs(choice, adapter)]
    if not used:
        return False
    channels = Channels(trace, choice.planes, through_edges=False)
    price = PRICES[select]
    rejected = False
    for adapter in used:
        tensor, edge = choice.planes[adapter.tensor], choice.planes[adapter.edge]
        elements = int(np.prod(trace.shapes[adapter.tensor[0]])) // tensor.gone.size
        selected, embedded = (edge.gone & ~tensor.gone).any(), (tensor.gone & ~edge.gone).any()
        kept = int((~tensor.gone & ~edge.gone).sum())
        if selected and edge.kept:
            saved = _work(program, trace, choice, channels, adapter.edge, summed=True) * (tensor.kept - kept)
            if saved <= price * (SELECT_COST * elements * max(kept, 1) + NODE_COST):
                adapter.select, rejected = False, True
        if embedded and tensor.kept:
            saved = _work(program, trace, choice, channels, adapter.tensor, summed=False) * (edge.kept - kept)
            if saved <= price * (EMBED_COST * elements * edge.kept + 2 * NODE_COST):
                adapter.zero, rejected = np.zeros_like(adapter.zero), True
    return rejected


def _differs(choice: Choice, adapter: Adapter) -> bool:
    return not np.array_equal(choice.planes[adapter.tensor].gone, choice.planes[adapter.edge].gone)


def _work(program: Program, trace: Trace, choice: Choice, channels: Channels, axis: Axis, *, summed: bool) -> float:
    """Multiply-accumulates per channel of everything that sums over (or else produces) the channels of ``axis``."""
    total = 0.0
    for site, place in channels.families[channels.family[axis]]:
        if not isinstance(site, tuple) or site in trace.ids or ((site, place) in trace.summed) != summed:
            continue
        shape = program.shapes[name_of(program, site)]
        times = node_macs(program, program.nodes[site[0]]) / max(int(np.prod(shape)), 1)
        left = [choice.planes[site, a].kept if (site, a) in choice.planes else size for a, size in enumerate(shape)]
        total += times * float(np.prod([size for a, size in enumerate(left) if a != place]))
    return total
