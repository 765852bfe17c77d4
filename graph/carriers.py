"""Constant channels before padding.

A constant channel into a zero-padded convolution is no bias: it is right inside and wrong at the border. But channels
that are all constant differ only by a factor there as well. So one of them, the *carrier*, stays for all: each reader's
weights of the others are added to the carrier's, scaled by the ratio of the constants. That is exact.
"""

from __future__ import annotations

import numpy as np

from graph.channels import Channels
from graph.planes import Choice
from graph.program import Program
from graph.reads import Check
from graph.trace import Trace


def appoint(program: Program, trace: Trace, choice: Choice, checks: list[Check]) -> bool:
    """Choose carriers for the checks that hold back two constants or more; true if there are any.

    One per coupled space if one channel is a nonzero constant for all who need it, else several.
    """
    needy: dict[int, list[Check]] = {}
    channels = Channels(trace, choice.planes, through_edges=True)
    for check in checks:
        if check.border.any() and np.count_nonzero(_held(check, choice)) > 1:
            needy.setdefault(channels.family[check.axis], []).append(check)
    for group in needy.values():
        while group:
            labels = [channels.labels[check.axis][check.border] for check in group]
            candidates, votes = np.unique(np.concatenate([np.unique(each) for each in labels]), return_counts=True)
            chosen = candidates[votes.argmax()]
            rest = []
            for check in group:
                places = np.flatnonzero((channels.labels[check.axis] == chosen) & check.border)
                if places.size:
                    check.carrier = int(places[0])
                else:
                    rest.append(check)
            group = rest
    return bool(needy)


def _held(check: Check, choice: Choice) -> np.ndarray:
    """Constants that stay for no other reason than this reader's border."""
    plane = choice.planes[check.axis]
    causes = {place for place, cause in enumerate(choice.causes) if cause.reason == "border"}
    return np.asarray(check.border & ~plane.gone & np.isin(plane.why, list(causes)))
