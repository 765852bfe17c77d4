"""Which rows are needed of every tensor? One sweep against the graph, once it is said what attention looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import NodeProto

from graph.rows.facts import Place, RowTrace
from graph.tracing.trace import Site
from graph.values import Mask

Needs = dict[Place, Mask]  #: rows of the model [count, bool] by place

#: By name of a mixer, the indices of its axis that it keeps, and those of the same rows; all where it is not named.
Keep = Mapping[str, Mask]


def kept(trace: RowTrace, keep: Keep) -> dict[int, Mask]:
    """The rows [count, bool] that every mixer keeps."""
    return {
        index: trace.mask(each.rows[keep[each.name]] if each.name in keep else each.rows)
        for index, each in trace.mixers.items()
    }


def needs(trace: RowTrace, keep: Keep, *, least: bool = True) -> Needs:
    """The rows that are needed at every place, if mixers keep these.

    Everything else follows: where ``keep`` says nothing, what is left out is what nobody reads.

    Args:
        trace: the rows.
        keep: what mixers keep.
        least: of every tensor one row stays, be it needed or not.
    """
    mixed = kept(trace, keep)
    need = {place: trace.mask([]) for site in trace.rows for place, _ in trace.places(site)}
    for place in need:
        rows = trace.at(place)
        if len(rows.axes) > 1:  # what is left would be no grid
            need[place] |= trace.own(place)
        if rows.mixer is not None:
            need[place] |= mixed[rows.mixer] & trace.own(place)
    for place, ids in trace.always:
        need[place][ids] = True
    for index in [-1, *reversed(range(len(trace.program.nodes)))]:  # from the model's outputs
        node = trace.program.nodes[index] if index >= 0 else NodeProto()
        if least:
            _something(trace, need, node.output)
        for place, made in trace.links.get(index, ()):
            need[place] |= need[made] & trace.own(place)
        for place, ids in trace.whole.get(index, ()):
            need[place][ids] = True
        for place, mixer in trace.mixed.get(index, ()):
            need[place] |= mixed[mixer]
        if least:
            _something(trace, need, [(index, slot) for slot in range(len(node.input))])
    return need


def _something(trace: RowTrace, need: Needs, sites: Sequence[Site]) -> None:
    """A tensor never loses everything."""
    for site in sites:
        for place, rows in trace.places(site):
            if not need[place].any():
                need[place][rows.ids.flat[0]] = True
