"""Which rows are needed of every tensor? One sweep against the graph, once it is said what attention looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import NodeProto

from graph.rows.facts import Place, RowTrace
from graph.trace import Site
from graph.values import Mask

Needs = dict[Place, Mask]


def needs(trace: RowTrace, keep: Mapping[str, Mask] | None = None) -> Needs:
    """The rows [rows of the model, bool] that are needed at every place.

    Args:
        trace: the rows.
        keep: per mixer that shall do with fewer rows, by name, those indices of its axis that stay. Everything else
            follows: without it, what is left out is what nobody reads.
    """
    keep = keep or {}
    kept = {
        index: trace.mask(each.rows[keep[each.name]] if each.name in keep else each.rows)
        for index, each in trace.mixers.items()
    }
    need = {(site, place): trace.mask([]) for site, each in trace.rows.items() for place in range(len(each))}
    for place, rows in ((place, trace.at(place)) for place in need):
        if len(rows.axes) > 1:  # what is left would be no grid
            need[place] |= trace.mask(rows.ids)
        if rows.mixer is not None:
            need[place] |= kept[rows.mixer] & trace.mask(rows.ids)
    for place, ids in trace.always:
        need[place][ids] = True
    for index in [-1, *reversed(range(len(trace.program.nodes)))]:  # from the model's outputs
        node = trace.program.nodes[index] if index >= 0 else NodeProto()
        _something(trace, need, node.output)
        for place, made in trace.links.get(index, ()):
            need[place] |= need[made] & trace.mask(trace.at(place).ids)
        for place, ids in trace.whole.get(index, ()):
            need[place][ids] = True
        for place, mixer in trace.mixed.get(index, ()):
            need[place] |= kept[mixer]
        _something(trace, need, [(index, slot) for slot in range(len(node.input))])
    return need


def _something(trace: RowTrace, need: Needs, sites: Sequence[Site]) -> None:
    """A tensor never loses everything."""
    for site in sites:
        for place, rows in trace.places(site):
            if not need[place].any():
                need[place][rows.ids.flat[0]] = True
