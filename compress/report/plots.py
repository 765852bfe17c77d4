"""What one would rather see than read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from compress.bench.profiling import Profiles
from compress.files import atomic
from compress.prune.sensitivity import Sensitivity
from compress.tables import batch, names
from runtime import BenchResult

BEFORE, AFTER = "#b8c4ce", "#1f6f8b"
SHOWN = 7  # kinds of operators
Widths = Mapping[str, tuple[int, int]]


def latency_plot(results: Sequence[BenchResult], path: Path) -> None:
    """Distributions of the latencies, one panel per provider and batch size."""
    figure = Figure(figsize=(6 * len(results), 3.2))
    panels = figure.subplots(1, len(results), squeeze=False)
    for axes, result in zip(panels[0], results, strict=True):
        latencies(axes, result)
    _save(figure, path)


def profile_plot(profiles: Profiles, path: Path) -> None:
    """Time per layer and per kind of operator, and the layers below the roofline of this machine."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplot_mosaic([["time", "kinds"], ["roof", "kinds"]], width_ratios=(5, 2))
    top, right = panels["time"], panels["kinds"]
    found = profiles.layers
    sides = [("before", BEFORE), ("after", AFTER)][-len(profiles.both) :]
    for number, (side, colour) in enumerate(sides):
        ops = [getattr(layer, side) for layer in found]
        places = [place + 0.4 * number for place in range(len(ops))]
        top.bar(places, [1e3 * op.seconds if op else 0 for op in ops], 0.4, color=colour, label=side)
    top.set_ylabel("ms")
    top.set_title("convolutions and matrix products, from input to output")
    top.xaxis.set_major_locator(MaxNLocator(integer=True))
    top.legend(frameon=False)
    roofline(panels["roof"], profiles, sides)
    kinds = profiles.kinds[:SHOWN][::-1]
    for number, (side, colour) in enumerate(sides):
        seconds = [1e3 * kind.seconds[side == "after"] for kind in kinds]
        right.barh([place - 0.4 * number for place in range(len(kinds))], seconds, 0.4, color=colour, label=side)
    right.set_yticks(range(len(kinds)), [kind.name + " (moves data)" * kind.moves for kind in kinds])
    right.set_xlabel("ms")
    right.set_title("all operators of a kind")
    _save(figure, path)


def roofline(axes: Axes, profiles: Profiles, sides: Sequence[tuple[str, str]]) -> None:
    """Rate against arithmetic intensity, a dot per layer (Williams, Waterman, Patterson 2009).

    Args:
        axes: to draw on.
        profiles: what was measured.
        sides: of them, with the colour of each.
    """
    roof, knee = profiles.roof, profiles.roof.macs / profiles.roof.bytes
    intensities = [knee / 10, knee, knee * 10]
    for side, colour in sides:
        ops = [op for layer in profiles.layers if (op := getattr(layer, side)) and op.seconds and op.bytes]
        places = [op.macs / op.bytes for op in ops]
        axes.loglog(places, [profiles.rate(op) * 1e-9 for op in ops], ".", color=colour, label=side)
        intensities += places
    ends = [min(intensities), knee, max(intensities)]
    heights = [min(roof.macs, roof.bytes * place) * 1e-9 for place in ends]
    axes.loglog(ends, heights, color="black", linewidth=0.8, label="roof of this machine")
    axes.set_xlabel("MACs per byte")
    axes.set_ylabel("GMAC/s")
    axes.legend(frameon=False)


def overview_plot(widths: Widths, result: BenchResult, path: Path, title: str) -> None:
    """Kept channels per layer beside the latency before and after.

    Args:
        widths: per layer, (kept, original) channels, in the order of the network.
        result: a paired measurement of the slim model against the dense one.
        path: of the PNG.
        title: of the picture.
    """
    figure = Figure(figsize=(12, 3.8))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    places = range(len(widths))
    left.bar(places, [total for _, total in widths.values()], color=BEFORE, width=0.9, label="dense")
    left.bar(places, [kept for kept, _ in widths.values()], color=AFTER, width=0.9, label="after shrink")
    left.set_xlabel("convolution, from input to output")
    left.set_ylabel("channels")
    left.set_title("kept channels per layer")
    left.legend(frameon=False)
    latencies(right, result)
    figure.suptitle(title)
    _save(figure, path)


def sensitivity_plot(found: Sensitivity, path: Path) -> None:
    """Distance of the answers, and accuracy where it is known, against the share of each family that is zero."""
    panels = [("distance", found.distance)] + [("accuracy", "accuracy, %")] * (found.accuracy is not None)
    figure = Figure(figsize=(6 * len(panels), 4), layout="constrained")
    last = max(len(found.families) - 1, 1)
    for axes, (name, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for place, curve in enumerate(found.families):
            axes.plot(curve.removed, getattr(curve, name), ".-", color=colormaps["viridis"](place / last), linewidth=1)
        axes.set_xlabel("share of the family that is zero")
        axes.set_title(f"{title}; families from input (dark) to output (bright)")
        if name == "distance":
            axes.set_yscale("symlog", linthresh=1e-3)
            axes.set_ylim(bottom=0)
    _save(figure, path)


def latencies(axes: Axes, result: BenchResult) -> None:
    """Box plots of the samples, the whiskers at the 5th and 95th percentile, and the speedup as title."""
    samples = [result.samples.candidate * 1e3]
    labels, colours = list(names(result)[:1]), [AFTER]
    if result.samples.reference is not None:
        samples.insert(0, result.samples.reference * 1e3)
        labels.insert(0, names(result)[1])
        colours.insert(0, BEFORE)
    boxes = axes.boxplot(
        samples,
        orientation="horizontal",
        widths=0.6,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        tick_labels=labels,
    )
    for box, colour in zip(boxes["boxes"], colours, strict=True):
        box.set_facecolor(colour)
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    axes.set_xlabel(f"latency, ms ({result.settings['provider']}, batch {batch(result)})")
    if result.comparison is not None:
        ratio = result.comparison.ratio
        axes.set_title(f"speedup {ratio.estimate:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")


def _save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130, bbox_inches="tight", format="svg" if path.suffix == ".svg" else "png")
