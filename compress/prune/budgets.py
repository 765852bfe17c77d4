"""Which classes must go, the weakest first, for a budget to be met?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

import graph
from compress.errors import UserError
from compress.prune.selection import Selection
from graph.candidates.classes import Classes
from graph.candidates.forecast import Forecast
from graph.values import Mask

Budget = Literal["keep", "params", "macs", "bytes", "latency"]

WHAT = {"keep": "channel classes", "params": "parameters", "macs": "MACs", "bytes": "bytes", "latency": "latency"}


class Trial:
    """The same model with more or fewer of its classes gone.

    Args:
        source: the file of the model.
        classes: of the model.
        budget: what is counted.
    """

    def __init__(self, source: Path, classes: Classes, budget: Budget) -> None:
        self.source, self.classes, self.budget = source, classes, budget
        self.forecast = Forecast(classes)
        self.certificates: dict[bytes, graph.Certificate] = {}

    def shrunk(self, gone: Mask) -> graph.Certificate:
        """What `shrink` makes of it, with bytes if they are the budget; takes seconds, once."""
        found = self.certificates.get(gone.tobytes())
        if found is None:
            slim, found = graph.shrink(self.classes.zeroed(gone))
            if self.budget == "bytes":
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder, self.source.name)
                    graph.save(slim, path)
                    found.stamp(self.source, path)
            self.certificates[gone.tobytes()] = found
        return found

    def guess(self, gone: Mask) -> float:
        """About which fraction is left, by counting alone."""
        if self.budget == "keep":
            return 1 - int(gone.sum()) / gone.size
        full, left = self.forecast.full, self.forecast.without(gone)
        if self.budget in ("params", "bytes"):
            return left.parameters / max(full.parameters, 1)
        return left.macs / max(full.macs, 1)

    def left(self, gone: Mask) -> float:
        """Which fraction is left."""
        if self.budget == "keep":
            return self.guess(gone)
        found = self.shrunk(gone)
        before, after = {
            "params": (found.input.parameters, found.output.parameters),
            "macs": (found.input.macs, found.output.macs),
            "bytes": (found.input.bytes, found.output.bytes),
        }[self.budget]
        return after / max(before, 1)


def fewest(trial: Trial, selection: Selection, fraction: float) -> Mask:
    """The classes that have to go [classes, bool]: guessed, then found in steps from there.

    The weakest go until the budget is met. The last block of them may be large, as in a residual stream: then others
    come back for which there is room, the strongest first.

    Raises:
        UserError: the floors keep more than ``fraction``; the message says how much is left at least.
    """
    goal, most = _goal(trial, fraction), selection.most

    def left(count: int) -> float:
        return trial.left(selection.weakest(count))

    high = _first(lambda count: trial.guess(selection.weakest(count)) <= goal, -1, most)
    low, step = high - 1, 1
    while left(high) > goal:
        if high == most:
            raise unreachable(trial.budget, fraction, left(high), selection)
        low, high, step = high, min(high + step, most), 2 * step
    while low >= 0 and left(low) <= goal:
        low, high, step = max(low - step, -1), low, 2 * step
    count = _first(lambda count: left(count) <= goal, low, high)
    *choices, last = selection.weakest(count), *_with_more(trial, selection, count, goal)
    if trial.left(last) <= goal:
        return last
    return choices[_first(lambda place: trial.left(choices[place]) > goal, 0, len(choices)) - 1]


def check_reachable(trial: Trial, selection: Selection, fraction: float) -> None:
    """Errors of `fewest`, without knowing scores: whatever goes first, about as much is left in the end."""
    least = trial.left(selection.weakest(selection.most))
    if least > _goal(trial, fraction):
        raise unreachable(trial.budget, fraction, least, selection)


def unreachable(budget: Budget, fraction: float, least: float, selection: Selection) -> UserError:
    """The floors keep more than ``fraction``: at ``least`` so much."""
    kept = np.isposinf(selection.scores)
    held = f" ({kept.sum():,} of {kept.size:,} are protected or have no score)" if kept.any() else ""
    align = " or --align" if selection.align > 1 else ""
    return UserError(
        f"{fraction:.1%} of the {WHAT[budget]} cannot be reached: {least:.1%} are left with every class gone that may "
        f"go{held}; lower --floor{align}, or see compress inspect for what holds the others"
    )


def _goal(trial: Trial, fraction: float) -> float:
    """What may be left: of classes as many as is nearest."""
    return fraction + (0.5 / len(trial.classes) if trial.budget == "keep" else 0.0)


def _with_more(trial: Trial, selection: Selection, count: int, goal: float) -> Iterator[Mask]:
    """The choice of ``count`` blocks with one after the other back, as long as there is room by counting."""
    gone = selection.weakest(count)
    room = goal - trial.left(gone) + trial.guess(gone)
    full: set[int] = set()  # families; each of their blocks takes as much room, or more once others are back
    for block in reversed(selection.blocks[:count]):
        family = int(trial.classes.family[block[0]])
        if family not in full and selection.scores[block[0]] > -np.inf:
            more = gone.copy()
            more[block] = False
            if trial.guess(more) <= room:
                gone = more
                yield gone
            else:
                full.add(family)


def _first(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The least count above ``low`` that fits, if ``high`` does and ``low`` does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
