"""How many classes must go, the weakest first, for a budget to be met?"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import graph
from compress.errors import UserError
from compress.prune.selection import Selection
from graph.forecast import Forecast

Budget = Literal["keep", "params", "macs", "bytes", "latency"]

WHAT = {"keep": "channel classes", "params": "parameters", "macs": "MACs", "bytes": "bytes", "latency": "latency"}


class Trial:
    """The same model with more or fewer of its classes gone, the weakest first.

    Args:
        source: the file of the model.
        selection: who goes first.
        budget: what is counted.
    """

    def __init__(self, source: Path, selection: Selection, budget: Budget) -> None:
        self.source, self.selection, self.budget = source, selection, budget
        self.forecast = Forecast(selection.classes)
        self.shrunk = functools.cache(self.shrink)

    def shrink(self, count: int) -> graph.Certificate:
        """What `shrink` makes of it, with bytes if they are the budget; takes seconds."""
        slim, certificate = graph.shrink(self.selection.classes.zeroed(self.selection.weakest(count)))
        if self.budget == "bytes":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, self.source.name)
                graph.save(slim, path)
                certificate.stamp(self.source, path)
        return certificate

    def guess(self, count: int) -> float:
        """About which fraction is left, by counting alone."""
        gone = self.selection.weakest(count)
        if self.budget == "keep":
            return 1 - int(gone.sum()) / gone.size
        full, left = self.forecast.full, self.forecast.without(gone)
        if self.budget in ("params", "bytes"):
            return left.parameters / max(full.parameters, 1)
        return left.macs / max(full.macs, 1)

    def left(self, count: int) -> float:
        """Which fraction is left."""
        if self.budget == "keep":
            return self.guess(count)
        found = self.shrunk(count)
        before, after = {
            "params": (found.input.parameters, found.output.parameters),
            "macs": (found.input.macs, found.output.macs),
            "bytes": (found.input.bytes, found.output.bytes),
        }[self.budget]
        return after / max(before, 1)


def fewest(trial: Trial, fraction: float) -> int:
    """How many classes must go at least: guessed, then found in steps from there.

    Raises:
        UserError: the floors keep more than ``fraction``; the message says how much is left at least.
    """
    most = trial.selection.most
    slack = 0.5 / len(trial.selection.classes) if trial.budget == "keep" else 0.0  # to the nearest class
    goal = fraction + slack
    high = _first(lambda count: trial.guess(count) <= goal, -1, most)
    low, step = high - 1, 1
    while trial.left(high) > goal:
        if high == most:
            raise unreachable(trial.budget, fraction, trial.left(high))
        low, high, step = high, min(high + step, most), 2 * step
    while low >= 0 and trial.left(low) <= goal:
        low, high, step = max(low - step, -1), low, 2 * step
    return _first(lambda count: trial.left(count) <= goal, low, high)


def unreachable(budget: Budget, fraction: float, least: float) -> UserError:
    """The floors keep more than ``fraction``: at ``least`` so much."""
    return UserError(
        f"{fraction:.1%} of the {WHAT[budget]} cannot be reached: {least:.1%} are left with every "
        "class gone that may go; lower --floor or --align, or see compress inspect for what holds the others"
    )


def _first(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The least count above ``low`` that fits, if ``high`` does and ``low`` does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
