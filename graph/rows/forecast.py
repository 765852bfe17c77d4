"""How much work is left if attention looks at fewer rows? By counting alone, without a rewrite."""

from __future__ import annotations

from math import prod

from graph.counts import node_macs
from graph.rows.facts import RowTrace
from graph.rows.needs import Keep, kept, needs


class Forecast:
    """Multiply-accumulates of a model whose packed projections are apart.

    Args:
        trace: of the model.
    """

    def __init__(self, trace: RowTrace) -> None:
        self.trace = trace
        self.macs = {index: node_macs(trace.program, node) for index, node in enumerate(trace.program.nodes)}

    def left(self, keep: Keep) -> float:
        """The share of them that `remove` leaves."""
        trace, need, mixed = self.trace, needs(self.trace, keep), kept(self.trace, keep)
        total = 0.0
        for index, macs in self.macs.items():
            if macs:
                made = trace.places(trace.program.nodes[index].output[0])
                shares = [need[place][rows.ids].mean() for place, rows in made]
                shares += [mixed[mixer][trace.mixers[mixer].rows].mean() for _, mixer in trace.mixed.get(index, ())[:1]]
                total += macs * prod(shares)
        return total / max(sum(self.macs.values()), 1)
