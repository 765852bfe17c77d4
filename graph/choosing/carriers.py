"""Constant channels before padding.

A constant channel into a zero-padded convolution is no bias: it is right inside and wrong at the border. But channels
that are all constant differ only by a factor there as well. So one of them, the *carrier*, stays for all: each reader's
weights of the others are added to the carrier's, scaled by the ratio of the constants. That is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graph.choosing.reads import Check
from graph.model.program import Program
from graph.tracing.channels import Channels, Labels
from graph.tracing.planes import Choice
from graph.tracing.trace import Trace
from graph.values import Mask


def appoint(program: Program, trace: Trace, choice: Choice, checks: list[Check]) -> bool:
    """Choose carriers for the checks that hold back two constants or more; true if there are any.

    One per coupled space if one channel is a nonzero constant for all who need it, else several.
    """
    found = [(check, able) for check in checks if (able := _able(check, choice)).any()]
    if not found:
        return False
    needy: dict[int, list[tuple[Check, Mask]]] = {}
    channels = Channels(trace, choice.planes, through_edges=True)
    for check, able in found:
        needy.setdefault(channels.family[check.axis], []).append((check, able))
    for family in needy.values():
        while family:
            chosen = _best([(channels.labels[check.axis][able], check.values[able]) for check, able in family])
            rest = []
            for check, able in family:
                places = np.flatnonzero((channels.labels[check.axis] == chosen) & able)
                check.carriers.update(places[:1].tolist())
                able = able & ~check.carried()
                if able.any():
                    rest.append((check, able))
            family = rest
    return True


def _best(constants: Sequence[tuple[Labels, NDArray[np.float64]]]) -> int:
    """The channel that most readers can use, and of those the largest, since a small one would be scaled up.

    Args:
        constants: per reader, channels and their values there.
    """
    votes: dict[int, list[float]] = {}
    for labels, values in constants:
        share = np.abs(values) / np.abs(values).max()
        for label in np.unique(labels).tolist():
            votes.setdefault(label, []).append(float(share[labels == label].max()))
    return max(votes, key=lambda label: (len(votes[label]), min(votes[label])))


def _able(check: Check, choice: Choice) -> Mask:
    """Constants of the groups in which several stay for no other reason than this reader's border."""
    if not check.border.any():
        return check.border
    plane = choice.planes[check.axis]
    causes = {place for place, cause in enumerate(choice.causes) if cause.reason == "border"}
    held = check.border & ~plane.gone & np.isin(plane.why, list(causes))
    several = np.count_nonzero(held.reshape(check.groups, -1), axis=1) > 1
    return np.asarray(check.border & several.repeat(held.size // check.groups))
