"""Certificates, agreements and timings as tables on a screen."""

from __future__ import annotations

from rich.table import Table

from graph import Certificate
from runtime import BenchResult, PairedAccuracy, Parity

MOST = 12  # rows of one table; the JSON has them all


def sizes(certificate: Certificate) -> Table:
    """Parameters, MACs and bytes before and after."""
    table = Table(title="size")
    for heading in ("", "before", "after", "left"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in ("parameters", "macs", "bytes"):
        before, after = getattr(certificate.input, name), getattr(certificate.output, name)
        table.add_row(name.replace("macs", "MACs"), f"{before:,}", f"{after:,}", f"{after / before:.1%}" if before else "-")
    return table


def removed(certificate: Certificate) -> Table:
    """What went, and why."""
    table = Table(title="removed channels")
    table.add_column("channels", justify="right", no_wrap=True)
    table.add_column("reason", no_wrap=True)
    table.add_column("tensors", overflow="fold")
    table.add_column("absorbed into", overflow="fold")
    rows = sorted(certificate.removed, key=lambda row: -row.channels)
    for row in rows[:MOST]:
        table.add_row(f"{row.channels:,}", row.reason, _some(row.tensors), _some(row.absorbed_into))
    if len(rows) > MOST:
        table.add_row(f"{sum(row.channels for row in rows[MOST:]):,}", "", f"in {len(rows) - MOST} more groups", "")
    return table


def kept(certificate: Certificate) -> Table | None:
    """What stayed although it is dead, and what is frozen."""
    if not certificate.kept_zero and not certificate.frozen:
        return None
    table = Table(title="kept although dead, and frozen")
    table.add_column("channels", justify="right", no_wrap=True)
    table.add_column("reason", no_wrap=True)
    table.add_column("op", overflow="fold")
    table.add_column("tensors", overflow="fold")
    rows = [(row.channels, row.reason, row.op, _some(row.tensors)) for row in certificate.kept_zero]
    rows += [(row.channels, f"frozen: {row.why}", row.op, "") for row in certificate.frozen]
    rows.sort(key=lambda row: -row[0])
    for channels, *texts in rows[:MOST]:
        table.add_row(f"{channels:,}", *texts)
    if len(rows) > MOST:
        table.add_row(f"{sum(row[0] for row in rows[MOST:]):,}", f"in {len(rows) - MOST} more", "", "")
    return table


def parity(result: Parity) -> Table:
    """Differences per output."""
    table = Table(title=f"agreement on {result.inputs:,} inputs ({result.provider})")
    for heading in ("output", "max abs", "max rel", "same argmax"):
        table.add_column(heading, justify="left" if heading == "output" else "right")
    for output in result.outputs:
        same = f"{output.argmax_equal:,} / {output.rows:,}" if output.rows else "-"
        table.add_row(output.name, f"{output.max_abs:.3g}", f"{output.max_rel:.3g}", same)
    return table


def accuracy(result: PairedAccuracy) -> Table:
    """Accuracy of both models on the same images."""
    table = Table(title=f"accuracy on {result.reference.total:,} test images")
    for heading in ("", "correct", "percent"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, each in (("against", result.reference), ("model", result.candidate)):
        table.add_row(name, f"{each.count:,}", f"{each.percent:.2f}")
    table.caption = f"{result.lost} images lost, {result.gained} gained, McNemar p = {result.p_value:.3g}"
    return table


def latency(results: list[BenchResult]) -> Table:
    """Latencies in milliseconds, one row per model and setting."""
    table = Table(title="latency, ms")
    for heading in ("model", "provider", "batch", "runs", "p50", "p90", "p99", "spread"):
        table.add_column(heading, justify="left" if heading in ("model", "provider") else "right")
    for result in results:
        batch = next(iter(result.settings["inputs"].values()))[0]
        for name, summary in ((result.settings["candidate"], result.candidate), (result.settings["reference"], result.reference)):
            if summary is not None:
                cells = [f"{summary.percentiles[p] * 1e3:.3f}" if p in summary.percentiles else "-" for p in ("p50", "p90", "p99")]
                table.add_row(str(name), result.settings["provider"], str(batch), f"{summary.runs:,}", *cells, f"{summary.spread:.0%} {summary.stability}")
    return table


def verdict(result: BenchResult) -> str:
    """The comparison in one sentence."""
    comparison = result.comparison
    assert comparison is not None
    ratio, word = comparison.ratio, comparison.verdict
    batch = next(iter(result.settings["inputs"].values()))[0]
    return (
        f"{result.settings['provider']}, batch {batch}: {result.settings['candidate']} is [bold]{word}[/] "
        f"(speedup {ratio.estimate:.3f}, {ratio.level:.0%} interval {ratio.low:.3f} to {ratio.high:.3f})"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
