"""Inferences per second with several at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runtime.measure import Open, Run
from runtime.session import open_session
from runtime.trial import Model, Trial

BLOCK = 0.05  # seconds: long enough that starting and joining streams does not count


def streams_opener(subject: Trial, streams: int, each: int, model: Model) -> Open:
    """What opens a fresh session and returns a block of work: ``each`` inferences in every one of ``streams`` threads.

    All of them share the session; every one has its own inputs and outputs on the device.
    """

    def open_block() -> Run:
        session = open_session(model, subject.settings)
        return block([session.bound(subject.feeds) for _ in range(streams)], each)

    return open_block


def block(runs: Sequence[Run], each: int) -> Run:
    """Call every one of ``runs`` ``each`` times, all at once; what one raises is raised."""
    pool = ThreadPoolExecutor(len(runs))

    def stream(run: Run) -> None:
        for _ in range(each):
            run()

    def work() -> None:
        for _ in pool.map(stream, runs):
            pass

    return work


def inferences_per_block(subject: Trial, streams: int) -> int:
    """How many inferences of one stream fill a block, by the slower model: the same number for both."""
    slowest = max(_quickest(streams_opener(subject, streams, 1, model)()) for model in subject.models)
    return max(1, math.ceil(BLOCK / slowest))


def _quickest(run: Run) -> float:
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)
