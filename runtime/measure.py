"""Latency samples: two models in turns, in random order, in several pairs of fresh sessions.

Why rounds: two sessions of one and the same file differ in speed by half a percent, and sometimes by two, for
as long as they live, as their memory happens to lie. However many pairs are taken from one pair of sessions,
they cannot see this.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import SessionError
from runtime.stats import Interval, Times, median_ratio

Run = Callable[[], None]
Open = Callable[[], Run]
Clock = Callable[[], float]
StoppedBy = Literal["precision", "max_time"]

_PROGRESS_EVERY = 0.1  # seconds


@dataclass(frozen=True)
class Plan:
    """When a session has warmed up and when a measurement has seen enough.

    It ends after ``rounds`` rounds, which share ``min_time`` and ``min_pairs`` equally; with two models it
    goes on until half the width of the ratio's interval is below ``precision``. At ``max_time``, which counts
    opening and warming up too, it ends whatever was reached; fewer than 6 rounds leave the interval open.

    A session warms up for ``warmup_time`` and ``warmup_runs``, but no longer than ``max_warmup``; after the
    first round, when the machine itself is warm, no longer than a round's share of ``min_time``. Times in
    seconds.
    """

    rounds: int = 10
    min_time: float = 3.0
    min_pairs: int = 100
    max_time: float = 30.0
    precision: float = 0.01
    warmup_time: float = 0.2
    warmup_runs: int = 10
    max_warmup: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.min_pairs < 1 or self.rounds < 1 or not 0 <= self.min_time <= self.max_time:
            raise SessionError(
                f"min_time {self.min_time:g} s, max_time {self.max_time:g} s, min_pairs {self.min_pairs}, "
                f"rounds {self.rounds}: give 0 <= min_time <= max_time, and at least one pair and one round"
            )


@dataclass(frozen=True)
class Samples:
    """Raw latencies in seconds, in the order they were taken. Nothing is left out but the warm-up.

    Attributes:
        candidate: [n].
        reference: [n], entry i measured right before or after ``candidate[i]``; None for a single model.
        candidate_first: [n], which of the two it was.
        round: [n], counted from 0; every round has its own sessions.
        stopped_by: ``precision`` was reached (for a single model: all rounds were done), or ``max_time`` was.
    """

    candidate: Times
    reference: Times | None
    candidate_first: NDArray[np.bool_]
    round: NDArray[np.int64]
    stopped_by: StoppedBy


class Progress(Protocol):
    """Told about ten times a second how a measurement goes."""

    def __call__(self, seconds: float, pairs: int, ratio: Interval | None) -> None:
        """``seconds`` of at most ``max_time`` have passed; ``ratio`` is as of the last full round, if any."""


def measure(
    candidate: Open,
    reference: Open | None = None,
    plan: Plan | None = None,
    *,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
) -> Samples:
    """Time ``candidate``, alone or in pairs with ``reference``; a coin decides who opens and who runs first.

    Args:
        candidate: opens a fresh session and returns its run, which must wait for its device.
        reference: the same of the other model.
        plan: when to stop; what decides is how wide the interval is, never where it lies, to keep its level.
        progress: told how it goes.
        clock: the time in seconds.
    """
    plan = plan or Plan()
    openers = [candidate] if reference is None else [candidate, reference]
    generator = np.random.default_rng(plan.seed)
    rows: list[tuple[int, bool, list[float]]] = []
    ratio: Interval | None = None
    begin, next_report = clock(), 0.0
    for number, opening in enumerate(_balanced_orders(len(openers), generator)):
        runs = {index: openers[index]() for index in opening}
        for run in runs.values():
            _warm_up(run, plan, plan.min_time / plan.rounds if number else plan.max_warmup, clock)
        for pair in _pairs(runs, plan, generator, clock):
            rows.append((number, *pair))
            seconds = clock() - begin
            if progress and seconds >= next_report:
                progress(seconds, len(rows), ratio)
                next_report = seconds + _PROGRESS_EVERY
            if seconds >= plan.max_time:
                return _samples(rows, "max_time")
        samples = _samples(rows, "precision")
        if samples.reference is not None:
            ratio = median_ratio(samples.reference, samples.candidate, samples.round)
        if number + 1 >= plan.rounds and (ratio is None or ratio.half_width < plan.precision):
            break
        del run, runs  # the next sessions need the memory
    return samples


def _balanced_orders(models: int, generator: np.random.Generator) -> Iterator[list[int]]:
    """Who opens first finds better memory: an order of chance, the reverse of it, and so on."""
    while True:
        order = generator.permutation(models).tolist()
        yield order
        yield order[::-1]


def _pairs(
    runs: Mapping[int, Run], plan: Plan, generator: np.random.Generator, clock: Clock
) -> Iterator[tuple[bool, list[float]]]:
    """One round's share of pairs: whether the candidate ran first, and everyone's time."""
    begin = clock()
    for pairs in itertools.count(1):
        order = generator.permutation(len(runs)).tolist()
        times = [0.0] * len(runs)
        for index in order:
            start = clock()
            runs[index]()
            times[index] = clock() - start
        yield order[0] == 0, times
        spent = (clock() - begin) * plan.rounds
        if spent >= max(plan.min_time, plan.max_time / 2):  # of a slow model fewer pairs, but enough rounds
            return
        if pairs * plan.rounds >= plan.min_pairs and spent >= plan.min_time:
            return


def _warm_up(run: Run, plan: Plan, limit: float, clock: Clock) -> None:
    """Run until ``plan`` is content or ``limit`` seconds are over, at least twice: first runs allocate."""
    begin = clock()
    for count in itertools.count():
        seconds = clock() - begin
        warm = count >= plan.warmup_runs and seconds >= plan.warmup_time
        if count >= 2 and (warm or seconds >= limit):
            return
        run()


def _samples(rows: list[tuple[int, bool, list[float]]], stopped_by: StoppedBy) -> Samples:
    rounds, candidate_first, times = zip(*rows, strict=True)
    latencies = np.array(times)
    return Samples(
        candidate=latencies[:, 0],
        reference=latencies[:, 1] if latencies.shape[1] == 2 else None,
        candidate_first=np.array(candidate_first),
        round=np.array(rounds),
        stopped_by=stopped_by,
    )
