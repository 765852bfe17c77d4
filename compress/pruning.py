"""Zero the channel classes that matter least, down to a budget. Nothing is removed here: that is `shrink`'s work."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import graph
from compress.errors import UserError
from compress.files import staged
from compress.registry import unknown
from graph.classes import Classes, Scores, classes
from graph.counts import Size
from graph.criteria import CRITERIA
from graph.forecast import Forecast
from graph.values import Mask

Budget = Literal["keep", "params", "macs"]


@dataclass(frozen=True)
class Pruned:
    """What was zeroed, and what `shrink` will leave."""

    zeroed: int
    offered: int
    certificate: graph.Certificate


def prune_file(
    source: Path, target: Path, *, criterion: str, budget: Budget, fraction: float, seed: int, floor: float
) -> Pruned:
    """Write a copy of ``source`` in which the classes with the lowest scores are zero.

    Args:
        source: any ONNX file.
        target: where the zeroed model goes.
        criterion: a name of `graph.criteria.CRITERIA`.
        budget: what ``fraction`` is of: classes, or the parameters or MACs that `shrink` leaves.
        fraction: to stay, 0 < fraction <= 1.
        seed: for criteria that draw.
        floor: fraction of every family of classes that always stays.

    Raises:
        ModelError: the file cannot be read or is broken.
        UserError: no such criterion, the model offers no class, the budget cannot be reached above the floor, or
            the file cannot be written.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, list(CRITERIA))
    offered = classes(graph.analyse(graph.load(source)))
    if not len(offered):
        raise UserError(f"{source} offers no channel that could go: compress inspect {source} says what holds them")
    trial = _Trial(offered, CRITERIA[criterion](offered, seed), budget, floor)
    count = min(round((1 - fraction) * len(offered)), trial.most) if budget == "keep" else _fewest(trial, fraction)
    chosen = trial.weakest(count)
    with staged(target) as path:
        graph.save(offered.zeroed(chosen), path)
    return Pruned(int(chosen.sum()), len(offered), trial.shrunk(count))


class _Trial:
    """The same model with more or fewer of its classes gone, the weakest first.

    Attributes:
        most: how many classes may go at most.
    """

    def __init__(self, offered: Classes, scores: Scores, budget: Budget, floor: float) -> None:
        self.offered, self.scores, self.budget, self.floor = offered, scores, budget, floor
        self.most = int(self.weakest(len(offered)).sum())
        self.forecast = Forecast(offered)
        self.shrunk = functools.cache(self.shrink)

    def weakest(self, count: int) -> Mask:
        """The ``count`` classes that go first."""
        return self.offered.weakest(self.scores, count, self.floor)

    def shrink(self, count: int) -> graph.Certificate:
        """What `shrink` makes of it; takes seconds."""
        return graph.shrink(self.offered.zeroed(self.weakest(count)))[1]

    def guess(self, count: int) -> float:
        """About which fraction of the parameters or MACs is left."""
        return self.share(self.forecast.full, self.forecast.without(self.weakest(count)))

    def left(self, count: int) -> float:
        """Which fraction of them is left."""
        certificate = self.shrunk(count)
        return self.share(certificate.input, certificate.output)

    def share(self, before: Size, after: Size) -> float:
        if self.budget == "params":
            return after.parameters / max(before.parameters, 1)
        return after.macs / max(before.macs, 1)


def _fewest(trial: _Trial, fraction: float) -> int:
    """How many classes must go at least: guessed, then found in steps from there."""
    high = _first(lambda count: trial.guess(count) <= fraction, -1, trial.most)
    low, step = high - 1, 1
    while trial.left(high) > fraction:
        if high == trial.most:
            raise UserError(
                f"{fraction:.1%} of the {trial.budget} cannot be reached: {trial.left(high):.1%} are left with every "
                "class gone that may go; lower --floor, or see compress inspect for what holds the others"
            )
        low, high, step = high, min(high + step, trial.most), 2 * step
    while low >= 0 and trial.left(low) <= fraction:
        low, high, step = max(low - step, -1), low, 2 * step
    return _first(lambda count: trial.left(count) <= fraction, low, high)


def _first(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The least count above ``low`` that fits, if ``high`` does and ``low`` does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
