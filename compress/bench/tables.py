"""What ``compress bench`` finds out, as tables that fit on a screen of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from compress.bench.profiling import Layer, Profiles
from compress.bench.widths import Ladder
from compress.tables import MOST, batch, names, table
from runtime import BenchResult, Comparison
from runtime.coldstart import ColdStart
from runtime.fresh import Fresh
from runtime.profile import Op

PHASES = ("load", "create", "first")
MEMORY = {  # heading: figure of a fresh process
    "gained": "resident_bytes",
    "arena": "arena_bytes",
    "GPU": "device_bytes",
    "process peak": "peak_bytes",
}


def throughput(results: Sequence[BenchResult]) -> Table:
    """Rows of input per second; latencies of inferences that run side by side would say nothing."""
    made = table("throughput", "model", "provider", "batch", "streams", "rows/s", "spread", left=("model",))
    for result in results:
        for name, summary in zip(names(result), (result.candidate, result.reference), strict=True):
            if summary is not None:
                made.add_row(
                    name,
                    result.settings["provider"],
                    batch(result),
                    str(result.settings["streams"]),
                    f"{result.throughput(summary):,.1f}",
                    f"{summary.spread:.0%} {summary.stability}",
                )
    return made


def cold_starts(results: Sequence[ColdStart]) -> Table:
    """Medians of the phases."""
    title = "cold start, ms: medians over fresh processes"
    made = table(title, "model", "provider", "starts", *PHASES, "total", left=("model",))
    for result in results:
        for side, starts in (("candidate", result.candidate), ("reference", result.reference)):
            if starts is not None:
                name, times = Path(str(result.settings[side])).name, [*PHASES, "total"]
                cells = [f"{1e3 * np.median([getattr(each, phase) for each in starts]):.1f}" for phase in times]
                made.add_row(name, result.settings["provider"], str(len(starts)), *cells)
    return made


def speedup(comparison: Comparison) -> str:
    """The ratio with its interval, and the verdict."""
    ratio = comparison.ratio
    interval = f"{ratio.level:.0%} interval {ratio.low:.3f} to {ratio.high:.3f}"
    return f"speedup {ratio.estimate:.3f}, {interval}: {comparison.verdict}"


def memory(found: Sequence[tuple[Path, Fresh]]) -> Table:
    """Of a process that opened the model and ran it once."""
    made = table("memory, MiB", "model", *MEMORY, left=("model",))
    for path, each in found:
        values = [getattr(each, name) for name in MEMORY.values()]
        made.add_row(path.name, *("-" if value is None else f"{value / 2**20:.1f}" for value in values))
    return made


def kinds(profiles: Profiles) -> Table:
    """Time per kind of operator."""
    paired = profiles.before is not None
    headings = ("number", "ms", "number after", "ms after") if paired else ("number", "ms")
    made = table(f"operators ({profiles.provider})", "operator", *headings, "share", left=("operator",))
    for kind in profiles.kinds:
        cells = [(str(count), f"{1e3 * each:.3f}") for count, each in zip(kind.count, kind.seconds, strict=True)]
        shown = [*cells[0], *cells[1]] if paired else cells[1]
        share = kind.seconds[1] / (profiles.after.seconds or 1)
        made.add_row(f"{kind.name}{' (moves data)' if kind.moves else ''}", *shown, f"{share:.0%}")
    return made


def layers(profiles: Profiles) -> Table:
    """The layers that take the most time after: widths as the kernels see them, and rates against the peak."""
    found = profiles.slowest
    made = table("slowest layers", "layer", "width", "MACs, 1e6", "ms", "GMAC/s", "of peak", left=("layer",))
    for layer in found[:MOST]:
        made.add_row(layer.name, *(_arrow(profiles, layer, column) for column in range(5)))
    if len(found) > MOST:
        made.add_row(f"{len(found) - MOST} more", *[""] * 5)
    return made


def _arrow(profiles: Profiles, layer: Layer, column: int) -> str:
    sides = [layer.after] if profiles.before is None else [layer.before, layer.after]
    cells = ["-" if op is None else _cells(profiles, op)[column] for op in sides]
    return " > ".join(cells)


def _cells(profiles: Profiles, op: Op) -> tuple[str, ...]:
    return (
        str(op.width),
        f"{op.macs / 1e6:.3g}",
        f"{1e3 * op.seconds:.3f}",
        f"{profiles.rate(op) / 1e9:.1f}",
        f"{profiles.share(op):.0%}",
    )


def widths(found: Sequence[Ladder]) -> Table:
    """What each width could become."""
    title = "widths that pay, with the layer's latency (1 = now)"
    made = table(title, "layers", "width", "costs no more", "faster", left=("layers", "faster"))
    for each in found:
        more = f" (+{len(each.names) - 1})" if len(each.names) > 1 else ""
        free = f"{each.free} ({each.times[each.free]:.2f})" if each.free > each.form.width else "-"
        faster = ", ".join(f"{width} ({each.times[width]:.2f})" for width in each.paying[:4])
        made.add_row(f"{each.names[0]}{more}", str(each.form.width), free, faster or "-")
    return made
