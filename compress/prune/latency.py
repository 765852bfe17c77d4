"""A budget of latency: predicted by a table of the model's layers, measured on whole models, until both agree."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import graph
from compress.bench.widths import Form, at_sizes, form_of
from compress.errors import UserError
from compress.progress import Progress
from compress.prune.budgets import unreachable
from compress.prune.layers import LatencyTable
from compress.prune.selection import Selection
from graph.candidates.classes import Classes, Scores
from graph.candidates.forecast import shapes_without
from graph.candidates.masks import alike
from graph.values import Mask
from runtime import Plan, Settings, bench
from runtime.trial import trial

QUICK, SURE = Plan(min_time=1.0, max_time=6.0, precision=0.02), Plan(min_time=3.0, max_time=20.0)
NEAR = 0.015  # of a latency, where the search ends
STEPS = 8  # measurements of whole models at most
POINTS = 129  # counts of classes that are predicted at most, of one selection
LEAST = 1e-3  # of the dearest class, what any other one costs at least


class LatencyForecast:
    """What a model's layers take without some of its classes; other nodes are not counted.

    Args:
        classes: of the model.
        source: its file.
        settings: how it is run.
        batch: of its inputs; None for that of the model, or 1.
        table: of layers; that of this machine if None.

    Raises:
        SessionError: the model does not run.
    """

    def __init__(
        self, classes: Classes, source: Path, settings: Settings, batch: int | None, table: LatencyTable | None = None
    ) -> None:
        self.classes, self.table = classes, table or LatencyTable(settings)
        self.source, self.settings, self.batch = source, settings, batch
        feeds = trial(source, settings=settings, batch=batch).feeds
        program = at_sizes(classes.analysis.program.model, {name: array.shape for name, array in feeds.items()})
        found = [(node, form_of(program, node)) for node in program.nodes]
        self.layers = [(node.input[0], node.output[0], form) for node, form in found if form is not None]

    def seconds(self, choices: Sequence[Mask], progress: Progress) -> NDArray[np.float64]:
        """For every one of ``choices`` [classes, bool] to go; measures what the table lacks.

        Raises:
            SessionError: ONNX Runtime does not run a layer.
        """
        layers = [self.without(gone) for gone in choices]
        self.table.measure([form for forms in layers for form in forms], progress)
        return np.array([sum(map(self.table.seconds, forms)) for forms in layers])

    def without(self, gone: Mask) -> list[Form]:
        """The layers that are left without the ``gone`` classes [classes, bool]."""
        offer = self.classes.offers[0]
        before, after = offer.program.shapes, shapes_without(offer, gone[: offer.family.size])

        def left(name: str, axis: int, width: int) -> int:
            return round(width * after[name][axis] / before[name][axis]) if name in after else width

        found = []
        for read, made, form in self.layers:
            axis = 1 if form.op == "Conv" else -1
            inputs, outputs = left(read, axis, form.inputs), left(made, axis, form.width)
            if inputs and outputs:
                found.append(form.at(inputs, outputs))
        return found

    def costs(self, progress: Progress) -> Scores:
        """Seconds that each class takes with it [classes], on average over half of those that are alike.

        One class alone would cost nothing, or a whole block.

        Raises:
            SessionError: ONNX Runtime does not run a layer.
            UserError: the model has no layer that the table could hold.
        """
        if not self.layers:
            raise UserError(f"{self.source} has no Conv, Gemm or MatMul with weights to be timed: take --per macs")
        groups = alike(self.classes)
        halves = [group & (np.cumsum(group) <= _half(int(group.sum()))) for group in groups]
        whole, *rest = self.seconds([np.zeros(len(self.classes), np.bool_), *halves], progress)
        costs = np.zeros(len(self.classes))
        for group, half, seconds in zip(groups, halves, rest, strict=True):
            costs[group] = (whole - seconds) / half.sum()
        return np.asarray(np.maximum(costs, LEAST * costs.max()))

    def measured(self, gone: Mask, plan: Plan) -> float:
        """Which fraction of the whole model's latency is left without some classes, measured in turns with it."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, self.source.name)
            graph.save(graph.shrink(self.classes.zeroed(gone))[0], path)
            found = bench(path, self.source, settings=self.settings, batch=self.batch, plan=plan).comparison
        assert found is not None
        return 1 / found.ratio.estimate


def fastest(
    selections: Sequence[Selection], forecast: LatencyForecast, fraction: float, progress: Progress
) -> tuple[Mask, float]:
    """The classes to go for ``fraction`` of the latency [classes, bool], and what is left in a longer measurement.

    The table says what is left for every count of classes and every selection; that is scaled to fit what was measured
    on whole models, in between linearly. The choice that looks best is measured, then measured for longer, until it
    still looks best: the one with the fewest classes of those that are near enough, else the nearest. Where the table
    holds no layer of the model, latency is taken to follow the number of classes.

    Args:
        selections: of the same classes in several alignments.
        forecast: of their model.
        fraction: of the latency.
        progress: told how far it is.

    Raises:
        SessionError: ONNX Runtime cannot run the model.
        UserError: the floors keep more than that.
    """
    choices, owners = _choices(selections)
    counts = np.array([int(gone.sum()) for gone in choices])
    seconds = forecast.seconds(choices, progress) if forecast.layers else len(choices[0]) - counts
    predicted = seconds / seconds[0]
    found, sure = {0: 1.0}, set()
    progress.start(STEPS)
    try:
        for _ in range(STEPS):
            expected = _expected(predicted, counts, owners, found)
            place = _nearest(expected, fraction)
            if place in found and expected.min() > fraction * (1 + NEAR):
                raise unreachable("latency", fraction, min(found.values()), selections[0])
            if place in sure:
                break
            again = place in found
            found[place] = forecast.measured(choices[place], SURE if again else QUICK)
            if again:
                sure.add(place)
            progress.update(1, classes=int(counts[place]), latency=found[place])
    finally:
        progress.stop()
    best = min(found, key=lambda place: abs(found[place] / fraction - 1))
    return choices[best], found[best] if best in sure else forecast.measured(choices[best], SURE)


def _choices(selections: Sequence[Selection]) -> tuple[list[Mask], NDArray[np.int64]]:
    """Different ones of all selections, those with the fewest classes first, and the number of each one's selection."""
    found: dict[bytes, tuple[Mask, int]] = {}
    for number, selection in enumerate(selections):
        for count in np.unique(np.linspace(0, selection.most, POINTS).round().astype(int)):
            gone = selection.weakest(int(count))
            found[gone.tobytes()] = gone, number
    ordered = sorted(found.values(), key=lambda each: np.count_nonzero(each[0]))
    return [gone for gone, _ in ordered], np.array([number for _, number in ordered])


def _expected(
    predicted: NDArray[np.float64], counts: NDArray[np.int64], owners: NDArray[np.int64], found: Mapping[int, float]
) -> NDArray[np.float64]:
    """Predictions scaled to fit what was ``found`` by place: in a selection of which nothing was, to fit the others."""

    def scaled(places: Iterable[int]) -> NDArray[np.float64]:
        scales = {counts[place]: found[place] / predicted[place] for place in sorted(places)}
        return np.asarray(predicted * np.interp(counts, list(scales), list(scales.values())))

    expected = scaled(found)
    for owner in {int(owners[place]) for place in found if place}:
        own = owners == owner
        expected[own] = scaled(place for place in found if not place or own[place])[own]
    expected[list(found)] = list(found.values())
    return expected


def _nearest(expected: NDArray[np.float64], fraction: float) -> int:
    """The first that is near enough, else the nearest."""
    away = np.abs(expected / fraction - 1)
    return int(np.argmax(away <= NEAR) if away.min() <= NEAR else away.argmin())


def _half(count: int) -> int:
    """About half of ``count``, so that a multiple of 4 is left: widths beside these may run on other kernels."""
    return count - count // 2 // 4 * 4 if count >= 8 else count - count // 2
