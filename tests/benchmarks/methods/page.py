"""The page: a table and a panel of the plot per study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from compress.files import atomic
from tests.benchmarks.methods.measure import DENSE, Row
from tests.benchmarks.methods.studies import STUDIES
from tests.benchmarks.rivals.report import table

HEAD = [
    "method", "zeros", "runs", "test accuracy, %: trained", "zeros written", "after removal", "parameters left",
    "MACs left", "zeros by", "seconds",
]  # fmt: skip
KINDS = {  # colour and marker per kind of method
    "network slimming": ("#b8860b", "s"),
    "proximal slimming": ("#1f6f8b", "o"),
    "proximal gradient": ("#6aaed6", "v"),
    "variational slimming": ("#7b5ea7", "P"),
    "group slimming": ("#2e8b57", "D"),
}
OTHER = ("#999999", "X")

Rows = Mapping[str, Sequence[Row]]


def tables(found: Rows) -> str:
    """Markdown of all studies that have rows."""
    return "\n".join(_study(name, found[name]) for name in STUDIES if found.get(name))


def _study(name: str, rows: Sequence[Row]) -> str:
    study = STUDIES[name]
    of = f"{study.images:,} training images, {study.options['epochs']} epochs"
    groups: dict[tuple[float, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.target, row.way), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], -np.mean([row.accuracy for row in item[1]])))
    lines = [_line(way, each) for (_, way), each in ordered]
    moved = sum(row.images - row.same for row in rows)
    total = sum(row.images for row in rows)
    note = f"{total - moved:,} of {total:,} answers (test images, over all rows) are the same class after shrinking."
    return f"### {study.title}\n\n{of}.\n\n{table(HEAD, lines)}\n{note}\n"


def _line(way: str, rows: Sequence[Row]) -> list[str]:
    left = [row.parameters[1] / row.parameters[0] for row in rows]
    macs = [row.macs[1] / row.macs[0] for row in rows]
    return [
        way,
        "" if way == DENSE else _spread([100 * row.zeros for row in rows], 0) + " %",
        str(len(rows)),
        _spread([100 * row.trained for row in rows]),
        _spread([100 * row.cut for row in rows]),
        "**" + _spread([100 * row.shrunk for row in rows]) + "**",
        _spread([100 * each for each in left], 1) + " %",
        _spread([100 * each for each in macs], 1) + " %",
        ", ".join(sorted({row.by for row in rows} - {""})),
        f"{np.mean([row.seconds for row in rows]):.0f}",
    ]


def _spread(values: Sequence[float], digits: int = 2) -> str:
    """The mean, with its sample standard deviation where there are several."""
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 or digits == 0 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def plot(found: Rows, path: Path) -> None:
    """Accuracy right after removal against the parameters that are left, a panel per study."""
    names = [name for name in STUDIES if found.get(name)]
    figure = Figure(figsize=(6.2 * min(len(names), 2), 4.8 * -(-len(names) // 2)), layout="constrained")
    panels = figure.subplots(-(-len(names) // 2), min(len(names), 2), squeeze=False).flat
    for axes in panels:
        axes.axis("off")
    for name, axes in zip(names, figure.axes, strict=False):
        axes.axis("on")
        _panel(axes, name, found[name])
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _panel(axes: Axes, name: str, rows: Sequence[Row]) -> None:
    shown: set[str] = set()
    for row in rows:
        left = 100 * row.parameters[1] / row.parameters[0]
        if row.way == DENSE:
            axes.axhline(100 * row.accuracy, color="black", linewidth=0.8, label=None if DENSE in shown else DENSE)
            shown.add(DENSE)
            continue
        kind = row.way.partition(",")[0]
        colour, marker = KINDS.get(kind, OTHER)
        legend = kind if kind in KINDS else "others"
        fill = colour if row.by != "threshold" or row.way.endswith("tuning") else "none"
        axes.scatter(
            left, 100 * row.shrunk, s=34, marker=marker, edgecolors=colour, facecolors=fill,
            label=None if legend in shown else legend,
        )  # fmt: skip
        shown.add(legend)
    axes.set_title(STUDIES[name].title)
    axes.set_xlabel("parameters left, %")
    axes.set_ylabel("test accuracy right after removal, %")
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize="small")
