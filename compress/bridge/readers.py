"""Which weights read the channels that others make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from graph.candidates.classes import Offer
from graph.tracing.trace import Trace, name_of

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Reader:
    """A sum of products over channels.

    Attributes:
        parameter: that weighs them; None where it is no parameter as it stands.
        axis: of the parameter, that has the channels.
        groups: int64, per index the group that makes the channel; the number of groups for none.
    """

    parameter: nn.Parameter | None
    axis: int
    groups: Numbers


def readers(offer: Offer, trace: Trace, parameters: Mapping[str, nn.Parameter], group: Numbers) -> list[Reader]:
    """All readers of what is on offer, in the order of the graph.

    Args:
        offer: of a graph that has the parameters under their own names.
        trace: of the same graph.
        parameters: by name.
        group: that of every class of the offer and, at the end, the number of groups for -1.
    """
    found = []
    for read in trace.reads:
        sides = [(name_of(offer.program, site), axis) for site, axis in (read.left, read.right)]
        weights = [(parameters[name], axis) for name, axis in sides if name in parameters]
        for (name, _), side in zip(sides, (read.left, read.right), strict=True):
            if name not in offer.program.constants and side in offer.planes:
                parameter, axis = weights[0] if weights else (None, 0)
                found.append(Reader(parameter, axis, group[offer.planes[side]]))
    return found
