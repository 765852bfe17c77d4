"""Alignment: dead channels that stay, so that widths are whole blocks of channels, as CPU kernels like them.

They are dead, so it does not matter to the outputs which of them stay. A channel that comes back does so in all coupled
tensors at once, and those that bring the fewest parameters with them come first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from graph.model.program import Program
from graph.tracing.channels import Channels
from graph.tracing.planes import Axis, Choice
from graph.tracing.trace import Trace, name_of


def give_back(program: Program, trace: Trace, choice: Choice, multiple: int) -> bool:
    """Keep dead channels until every width that weights make is a multiple; true if any was not one.

    A tensor that lost everything, or was never wide enough, stays as it is.
    """
    channels = Channels(trace, choice.planes, through_edges=True)
    price = _prices(program, trace, choice, channels)
    back = np.zeros(price.size, np.bool_)
    for axis in _widths(trace, choice):
        labels = channels.labels[axis]
        gone = choice.planes[axis].gone & ~back[labels]
        kept = gone.size - int(np.count_nonzero(gone))
        wanted = -(-kept // multiple) * multiple
        if 0 < kept < wanted <= gone.size:
            places = np.flatnonzero(gone)
            cheapest = places[np.argsort(price[labels[places]], kind="stable")]
            back[labels[cheapest[: wanted - kept]]] = True
    why = choice.cause("align", f"multiple of {multiple}")
    for axis, plane in choice.planes.items():
        if plane.kept:
            plane.withdraw(back[channels.labels[axis]], why)
    return bool(back.any())


def _widths(trace: Trace, choice: Choice) -> Iterator[Axis]:
    """The axes of weights that make channels, in sums of products."""
    weights = (axis for axis in choice.planes if axis[0] not in trace.ids and len(trace.shapes[axis[0]]) > 1)
    return (axis for axis in weights if axis not in trace.summed)


def _prices(program: Program, trace: Trace, choice: Choice, channels: Channels) -> NDArray[np.float64]:
    """Per channel, how many parameters come back with it."""
    gone = [np.zeros(0, np.int64)]
    rows = [np.zeros(0)]
    for (site, place), plane in choice.planes.items():
        if site not in trace.ids and plane.kept:
            labels = channels.labels[site, place][plane.gone]
            size = program.constants[name_of(program, site)].size
            gone.append(labels)
            rows.append(np.full(labels.size, size / plane.gone.size))
    return np.bincount(np.concatenate(gone), np.concatenate(rows), channels.count).astype(np.float64)
