"""Latency over a grid of providers and batch sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compress.errors import UserError
from compress.progress import Progress
from runtime import BenchResult, Interval, Plan, Settings, bench

LONGEST = 10  # times the least measuring time


class _Meter:
    """Tells a progress bar how far one measurement is, in percent of the longest it may take."""

    def __init__(self, progress: Progress, longest: float) -> None:
        self.progress, self.longest, self.shown = progress, longest, 0

    def __call__(self, seconds: float, pairs: int, ratio: Interval | None) -> None:
        self.show(int(100 * min(seconds / self.longest, 1.0)))

    def show(self, percent: int) -> None:
        self.progress.update(percent - self.shown)
        self.shown = percent


def bench_grid(
    model: Path,
    against: Path | None,
    *,
    providers: Sequence[str],
    batches: Sequence[int | None],
    threads: int | None,
    seconds: float,
    progress: Progress,
) -> list[BenchResult]:
    """One result per provider and batch size.

    Raises:
        SessionError: a model cannot be opened or run, or a provider is not there.
    """
    plan = Plan(min_time=seconds, max_time=LONGEST * seconds)
    grid = [(name.strip(), batch) for name in providers for batch in batches]
    results = []
    progress.start(100 * len(grid))
    try:
        for name, batch in grid:
            meter = _Meter(progress, plan.max_time)
            settings = Settings(provider=name, threads=threads)
            results.append(bench(model, against, settings=settings, batch=batch, plan=plan, progress=meter))
            meter.show(100)
    finally:
        progress.stop()
    return results


def numbers(option: str, text: str | None) -> list[int | None]:
    """Positive whole numbers separated by commas; ``[None]`` for none.

    Raises:
        UserError: something else is in it.
    """
    if text is None:
        return [None]
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"{option} {text}: give positive whole numbers with commas, such as 1,8")
    return [int(part) for part in parts]
