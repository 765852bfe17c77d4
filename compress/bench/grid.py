"""Speed over a grid of providers, batch sizes and streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from compress.errors import UserError
from compress.inputs import read_inputs
from compress.progress import Progress
from runtime import BenchResult, Interval, Plan, Settings, bench, open_session
from runtime.coldstart import ColdStart, cold_start
from runtime.fresh import Fresh, fresh
from runtime.trial import trial

LONGEST = 10  # times the least measuring time


@dataclass(frozen=True)
class Subject:
    """Which models are measured, on what inputs.

    Attributes:
        model: the candidate.
        against: the reference, if any.
        batches: sizes to try; None for that of the model, or 1.
        dims: sizes of other dynamic axes by name.
        given: inputs that are not random, by name: a number, or an .npy or .npz file.
    """

    model: Path
    against: Path | None = None
    batches: Sequence[int | None] = (None,)
    dims: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, settings: Settings, batch: int | None) -> dict[str, Any]:
        """Of whatever measures one point of the grid; errors are those of `read_inputs`."""
        given = read_inputs(open_session(self.model, settings), self.given) if self.given else None
        return {"settings": settings, "batch": batch, "dims": self.dims, "given": given}


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
    subject: Subject,
    settings: Sequence[Settings],
    *,
    streams: Sequence[int | None] = (None,),
    transfers: bool = False,
    seconds: float,
    progress: Progress,
) -> list[BenchResult]:
    """One result per setting, batch size and number of streams; None streams measure latency.

    Raises:
        SessionError: a model cannot be opened or run, or a provider is not there.
        UserError: an input that is given cannot be read.
    """
    plan = Plan(min_time=seconds, max_time=LONGEST * seconds)
    grid = list(product(settings, subject.batches, streams))
    results = []
    with _running(progress, 100 * len(grid)):
        for how, batch, count in grid:
            meter = _Meter(progress, plan.max_time)
            arguments = subject.arguments(how, batch) | {"plan": plan, "progress": meter}
            results.append(bench(subject.model, subject.against, streams=count, transfers=transfers, **arguments))
            meter.show(100)
    return results


def cold_grid(subject: Subject, settings: Sequence[Settings], *, seconds: float, progress: Progress) -> list[ColdStart]:
    """Cold starts per setting and batch size; errors are those of `bench_grid`."""
    grid = list(product(settings, subject.batches))
    results = []
    with _running(progress, len(grid)):
        for how, batch in grid:
            found = cold_start(
                subject.model, subject.against, **subject.arguments(how, batch), max_time=LONGEST * seconds
            )
            results.append(found)
            progress.update(1)
    return results


def memory(subject: Subject, settings: Settings) -> list[tuple[Path, Fresh]]:
    """What each model needs in a process of its own; errors are those of `bench_grid`."""
    arguments = subject.arguments(settings, subject.batches[0])
    feeds = trial(subject.model, subject.against, **arguments).feeds
    models = [path for path in (subject.model, subject.against) if path is not None]
    return [(path, fresh(path, feeds, settings, arena=True)) for path in models]


@contextmanager
def _running(progress: Progress, total: int) -> Iterator[None]:
    progress.start(total)
    try:
        yield
    finally:
        progress.stop()


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
