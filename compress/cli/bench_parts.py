"""What ``compress bench`` runs and prints, one function per part; each adds its figures to what goes into the JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from compress import tables
from compress.bench import tables as bench_tables
from compress.bench.grid import Subject, bench_grid, cold_grid
from compress.bench.grid import memory as fresh_memory
from compress.bench.profiling import profile_files
from compress.bench.widths import ladders
from compress.cli.app import out, say
from compress.progress import Progress
from compress.verify.verifying import accuracy_figures, verify_files
from runtime import BenchResult, Comparison, Settings

Found = dict[str, Any]


def speed(
    found: Found,
    subject: Subject,
    how: list[Settings],
    streams: list[int | None],
    transfers: bool,
    seconds: float,
    meter: Progress,
    plot: Path | None,
) -> list[Comparison]:
    """Latency or throughput, what it means, and how reliable it is."""
    results = bench_grid(subject, how, streams=streams, transfers=transfers, seconds=seconds, progress=meter)
    out.print(tables.latency(results) if streams == [None] else bench_tables.throughput(results))
    for result in results:
        if result.comparison is not None:
            say(f"{_streams(result)}{tables.verdict(result)}")
        for name, summary in zip(tables.names(result), (result.candidate, result.reference), strict=True):
            if summary is not None and summary.reason:
                say(f"{name} is {summary.stability}: {summary.reason}")
    if results[0].parity is not None:
        largest = max(each.parity.max_rel for each in results if each.parity)
        say(f"their outputs differ by at most {largest:.2g} of the largest value")
    found["results"] = [result.to_dict() for result in results]
    if plot is not None:
        from compress.report.plots import latency_plot  # matplotlib takes a while to import

        latency_plot(results, plot)
    return [result.comparison for result in results if result.comparison is not None]


def _streams(result: BenchResult) -> str:
    count = result.settings["streams"]
    return "" if count is None else f"{count} stream{'s' * (count > 1)}, "


def cold_start(
    found: Found, subject: Subject, how: list[Settings], seconds: float, meter: Progress
) -> list[Comparison]:
    """Fresh processes, phase by phase."""
    results = cold_grid(subject, how, seconds=seconds, progress=meter)
    out.print(bench_tables.cold_starts(results))
    comparisons = [result.comparison for result in results if result.comparison is not None]
    for each in comparisons:
        say(f"create and first run: {bench_tables.speedup(each)}")
    found["cold_starts"] = [result.to_dict() for result in results]
    return comparisons


def memory(found: Found, subject: Subject, how: list[Settings]) -> None:
    """What each model takes in a process of its own."""
    measured = fresh_memory(subject, how[0])
    out.print(bench_tables.memory(measured))
    found["memory"] = [{"model": path.name, "unit": "bytes", **asdict(each)} for path, each in measured]


def profile(found: Found, subject: Subject, how: list[Settings], plot: Path | None) -> None:
    """Where the time goes, and why."""
    profiles = [
        profile_files(subject.model, subject.against, **subject.arguments(each, subject.batches[0])) for each in how
    ]
    for each in profiles:
        out.print(bench_tables.kinds(each))
        out.print(bench_tables.layers(each))
        for line in each.why():
            say(line)
    found["profiles"] = [each.to_dict() for each in profiles]
    if plot is not None:
        from compress.report.plots import profile_plot

        profile_plot(profiles[0], plot)


def widths(found: Found, subject: Subject, how: Settings, meter: Progress) -> None:
    """Which channel counts pay."""
    measured = ladders(subject.model, **subject.arguments(how, subject.batches[0]), progress=meter)
    out.print(bench_tables.widths(measured))
    found |= {"widths": [each.to_dict() for each in measured], "settings": asdict(how)}


def accuracy(found: Found, subject: Subject, how: Settings, data: str | None, data_dir: Path | None) -> None:
    """Of both models on a test set."""
    assert subject.against is not None
    result = verify_files(subject.model, subject.against, data=data, data_dir=data_dir, settings=how)
    assert result.accuracy is not None
    out.print(*tables.accuracy(result.accuracy))
    found["accuracy"] = accuracy_figures(result.accuracy)
