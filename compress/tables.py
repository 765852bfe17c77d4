"""Certificates, agreements and timings as tables that fit on a screen of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from graph import Certificate
from graph.reporting.inventory import Inventory
from runtime import BenchResult, PairedAccuracy, Parity

if TYPE_CHECKING:
    from compress.prune.families import Family

MOST = 12  # rows of one table; the JSON has them all


def table(title: str, *headings: str, left: Iterable[str] = ("",)) -> Table:
    """An empty table whose columns are aligned right but for those called ``left``, which may wrap."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, min_width=len(title))
    for heading in headings:
        if heading in left:
            made.add_column(heading, overflow="fold")
        else:
            made.add_column(heading, justify="right", no_wrap=True)
    return made


def sizes(certificate: Certificate, title: str = "size") -> Table:
    """Parameters, MACs and bytes before and after, as far as they are known."""
    made = table(title, "", "before", "after", "left")
    for name in ("parameters", "macs", "bytes"):
        before, after = getattr(certificate.input, name), getattr(certificate.output, name)
        if name == "bytes" and not before:
            continue  # a model that is no file
        left = f"{after / before:.1%}" if before else "-"
        made.add_row(name.replace("macs", "MACs"), f"{before:,}", f"{after:,}", left)
    return made


def removed(certificate: Certificate) -> Table | None:
    """What went, and why; None if nothing did."""
    rows = [(row.channels, row.reason, _some(row.tensors), _some(row.absorbed_into)) for row in certificate.removed]
    return _largest("removed", rows, "channels", "reason", "tensors", "absorbed into")


def kept(certificate: Certificate) -> Table | None:
    """What stayed although it is dead; None if nothing did."""
    rows = [(row.channels, row.reason, row.op, _some(row.tensors)) for row in certificate.kept_zero]
    return _largest("kept although dead", rows, "channels", "reason", "op", "tensors")


def frozen(certificate: Certificate) -> Table | None:
    """What could not go, whatever its value, by kind of operator; None if there is nothing."""
    kinds: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for row in certificate.frozen:
        kinds.setdefault((row.op.partition(":")[0], row.why), []).append((row.channels, row.op))
    rows = [
        (sum(channels for channels, _ in ops), why, _some([op for _, op in ops])) for (_, why), ops in kinds.items()
    ]
    return _largest("frozen", rows, "channels", "why", "op")


def totals(found: Inventory) -> Table:
    """Parameters and MACs, and how many parameters and channels may go."""
    made = table("size", "", "", "share")
    total, free = found.size.parameters, sum(family.parameters for family in found.offered)
    made.add_row("MACs", f"{found.size.macs:,}", "")
    made.add_row("parameters", f"{total:,}", "")
    made.add_row("  of channels that may go", f"{free:,}", f"{free / total:.1%}" if total else "-")
    made.add_row("  held back", f"{total - free:,}", f"{1 - free / total:.1%}" if total else "-")
    made.add_row("channel classes that may go", f"{sum(family.classes for family in found.offered):,}", "")
    return made


def offered(found: Inventory) -> Table | None:
    """Groups of channel classes; None if there are none."""
    rows = [(each.parameters, f"{each.classes:,}", _some(each.tensors)) for each in found.offered]
    return _largest("may go", rows, "parameters", "channels", "tensors")


def zeroed(found: Iterable[Family]) -> Table | None:
    """Where channel classes went; None if none did."""
    rows = [(each.zeroed, f"{each.classes:,}", _some(each.tensors)) for each in found if each.zeroed]
    return _largest("zeroed", rows, "classes", "of", "tensors")


def held(found: Inventory) -> Table | None:
    """What keeps other channels; None if nothing does."""
    rows = [(each.parameters, f"{each.channels:,}", each.why or each.reason, each.op) for each in found.held]
    return _largest("held back", rows, "parameters", "channels", "reason", "op")


def parity(result: Parity) -> Table:
    """Differences per output."""
    title = f"agreement on {result.inputs:,} inputs ({result.provider})"
    headings = ("output", "max abs", "max rel", "mean abs", "mean rel", "cosine", "same argmax")
    made = table(title, *headings, left=("output",))
    for output in result.outputs:
        differences = (output.max_abs, output.max_rel, output.mean_abs, output.mean_rel)
        same = f"{output.argmax_equal:,} / {output.rows:,}" if output.rows else "-"
        made.add_row(output.name, *(f"{each:.2g}" for each in differences), f"{output.cosine:.6f}", same)
    return made


def accuracy(result: PairedAccuracy) -> list[Table]:
    """Accuracy of both models on the same images, and where the task has them the figures over all pixels."""
    metric = result.reference.metric
    plain = metric == "accuracy"
    test, headings = ("McNemar's", ("correct", "only this one")) if plain else ("sign test's", ("perfect", "better"))
    title = f"{metric} on {result.reference.total:,} test images ({test} p = {result.p_value:.3g})"
    made = table(title, "", headings[0], "percent", headings[1])
    for name, each, alone in (
        ("against", result.reference, result.lost),
        ("model", result.candidate, result.gained),
    ):
        made.add_row(name, f"{each.count:,}", f"{each.percent:.2f}", f"{alone:,}")
    if not result.reference.figures:
        return [made]
    pixels = table("all pixels of all images together, percent", "", "against", "model")
    for name, before in result.reference.figures.items():
        pixels.add_row(name, f"{100 * before:.2f}", f"{100 * result.candidate.figures[name]:.2f}")
    return [made, pixels]


def latency(results: list[BenchResult]) -> Table:
    """Latencies in milliseconds, one row per model and setting."""
    headings = ("model", "provider", "batch", "runs", "median", "p90", "p99", "spread")
    made = table("latency, ms", *headings, left=("model",))
    for result in results:
        candidate, reference = names(result)
        for name, summary in ((candidate, result.candidate), (reference, result.reference)):
            if summary is not None:
                times = [summary.median, *(summary.percentiles.get(each) for each in ("p90", "p99"))]
                made.add_row(
                    name,
                    result.settings["provider"],
                    batch(result),
                    f"{summary.runs:,}",
                    *("-" if time is None else f"{time * 1e3:.3f}" for time in times),
                    f"{summary.spread:.0%} {summary.stability}",
                )
    return made


def verdict(result: BenchResult) -> str:
    """The comparison in one sentence."""
    comparison = result.comparison
    assert comparison is not None
    candidate, reference = names(result)
    words, advice = {"faster": "is faster than", "slower": "is slower than", "same": "is as fast as"}, ""
    if math.isinf(comparison.ratio.high):
        words["same"], advice = "cannot be told apart from", "; that were too few rounds: give more --seconds"
    ratio, where = comparison.ratio, f"{result.settings['provider']}, batch {batch(result)}"
    return (
        f"{where}: {candidate} {words[comparison.verdict]} {reference} "
        f"(speedup {ratio.estimate:.3f}, {ratio.level:.0%} interval {ratio.low:.3f} to {ratio.high:.3f}){advice}"
    )


def batch(result: BenchResult) -> str:
    """The leading size of the first input; "-" where there is none."""
    shape: list[int] = next(iter(result.settings["inputs"].values()), [])
    return str(shape[0]) if shape else "-"


def names(result: BenchResult) -> tuple[str, str]:
    """What to call the model and the one it was measured against: their file names, if these differ."""
    paths = [Path(str(result.settings[key])) for key in ("candidate", "reference")]
    first, second = (path.name for path in paths)
    return (first, second) if first != second else (str(paths[0]), str(paths[1]))


def _largest(title: str, rows: Sequence[tuple[int, *tuple[str, ...]]], first: str, *headings: str) -> Table | None:
    """The rows with the largest ``first`` entries, without columns that are empty; None if there are no rows."""
    if not rows:
        return None
    used = [place for place in range(len(headings)) if any(row[1 + place] for row in rows)]
    made = table(title, first, *(headings[place] for place in used), left=set(headings) - {"channels"})
    rows = sorted(rows, key=lambda row: -row[0])
    for count, *texts in rows[:MOST]:
        made.add_row(f"{count:,}", *(texts[place] for place in used))
    if len(rows) > MOST:
        rest = [""] * len(used)
        rest[-1] = f"{len(rows) - MOST} more"
        made.add_row(f"{sum(row[0] for row in rows[MOST:]):,}", *rest)
    return made


def _some(names: list[str]) -> str:
    return f"{names[0]} (+{len(names) - 1})" if len(names) > 1 else "".join(names)
