"""How many classes must go, the weakest first, for a budget to be met?"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import graph
from compress.errors import UserError
from compress.progress import Progress
from compress.prune.selection import Selection
from graph.forecast import Forecast
from runtime import Plan, Settings, bench

Budget = Literal["keep", "params", "macs", "bytes", "latency"]

WHAT = {"keep": "channel classes", "params": "parameters", "macs": "MACs", "bytes": "bytes", "latency": "latency"}
QUICK, SURE = Plan(min_time=1.0, max_time=6.0), Plan(min_time=3.0, max_time=20.0)  # a step of a search, and its end
NEAR = 0.01  # of a latency, where the search ends
STEPS = 10


class Trial:
    """The same model with more or fewer of its classes gone, the weakest first.

    Args:
        source: the file of the model.
        selection: who goes first.
        budget: what is measured.
        settings: how latency is.
        batch: of its inputs; None for that of the model, or 1.
    """

    def __init__(
        self, source: Path, selection: Selection, budget: Budget, settings: Settings, batch: int | None
    ) -> None:
        self.source, self.selection, self.budget = source, selection, budget
        self.settings, self.batch = settings, batch
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

    def latency(self, count: int, plan: Plan = QUICK) -> float:
        """Which fraction of the latency is left, measured in turns with the original."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, self.source.name)
            graph.save(graph.shrink(self.selection.classes.zeroed(self.selection.weakest(count)))[0], path)
            found = bench(path, self.source, settings=self.settings, batch=self.batch, plan=plan).comparison
        assert found is not None
        return 1 / found.ratio.estimate


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
            raise _unreachable(trial, fraction, trial.left(high))
        low, high, step = high, min(high + step, most), 2 * step
    while low >= 0 and trial.left(low) <= goal:
        low, high, step = max(low - step, -1), low, 2 * step
    return _first(lambda count: trial.left(count) <= goal, low, high)


def fastest(trial: Trial, fraction: float, progress: Progress) -> tuple[int, float]:
    """How many classes must go for ``fraction`` of the latency, and what of it is left in a longer measurement.

    Between two measured counts the next one is where latency would be right if it followed the MACs. A count that
    looks right is measured again, for longer; if that says otherwise, the search goes on.

    Raises:
        SessionError: ONNX Runtime cannot run the model.
        UserError: the floors keep more than that.
    """
    most = trial.selection.most
    found, sure = {0: 1.0, most: trial.latency(most)}, {}
    if found[most] > fraction * (1 + NEAR):
        raise _unreachable(trial, fraction, found[most])
    progress.start(STEPS)
    try:
        for _ in range(STEPS):
            low = max((count for count in found if found[count] > fraction), default=0)
            high = min((count for count in found if count > low), default=most)
            count = _between(trial, fraction, (low, found[low]), (high, found[high])) if high - low > 1 else high
            if count not in found:
                found[count] = trial.latency(count)
            if abs(found[count] / fraction - 1) <= NEAR or high - low < 2:
                found[count] = sure[count] = trial.latency(count, SURE)
            progress.update(1, classes=count, latency=found[count])
            if count in sure and (abs(sure[count] / fraction - 1) <= NEAR or high - low < 2):
                break
    finally:
        progress.stop()
    best = min(found, key=lambda count: abs(found[count] / fraction - 1))
    return best, sure[best] if best in sure else trial.latency(best, SURE)


def _between(trial: Trial, fraction: float, low: tuple[int, float], high: tuple[int, float]) -> int:
    """The count between two (count, latency) at which latency is ``fraction`` if it follows the MACs."""
    way = (low[1] - fraction) / max(low[1] - high[1], 1e-9)
    share = trial.guess(low[0]) + min(max(way, 0.0), 1.0) * (trial.guess(high[0]) - trial.guess(low[0]))
    count = _first(lambda count: trial.guess(count) <= share, low[0], high[0])
    return min(max(count, low[0] + 1), high[0] - 1)


def _unreachable(trial: Trial, fraction: float, least: float) -> UserError:
    return UserError(
        f"{fraction:.1%} of the {WHAT[trial.budget]} cannot be reached: {least:.1%} are left with every "
        "class gone that may go; lower --floor, or see compress inspect for what holds the others"
    )


def _first(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The least count above ``low`` that fits, if ``high`` does and ``low`` does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
