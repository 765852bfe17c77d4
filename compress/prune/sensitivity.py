"""How much does a model suffer when a family of its channel classes loses more and more of them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import graph
from compress import tables
from compress.errors import UserError
from compress.progress import Progress
from compress.prune.calibration import Calibration, Outputs
from compress.prune.criterion import CRITERIA, Context
from compress.prune.divergence import distance
from compress.prune.families import makers
from compress.prune.masked import MaskedModel, Measure, Rows
from graph.candidates.classes import Classes, classes
from runtime import Settings, named_task

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Curve:
    """One family of classes, the weakest of which are zero.

    Attributes:
        tensors: the constants that make them, as ``name[axis]``.
        classes: how many there are.
        removed: fractions of them that are zero.
        distance: how far the answers then are from the original ones.
        accuracy: in percent, where labels are known.
    """

    tensors: list[str]
    classes: int
    removed: list[float]
    distance: list[float]
    accuracy: list[float] | None


@dataclass(frozen=True)
class Sensitivity:
    """What was measured.

    Attributes:
        distance: its name, ``kl`` or ``output-error``.
        criterion: that says which classes are the weakest.
        samples: how many were run.
        accuracy: of the whole model on them in percent, where labels are known.
        families: in the order of the network.
    """

    distance: str
    criterion: str
    samples: int
    accuracy: float | None
    families: list[Curve]


def sensitivity(
    model: Path, data: Calibration, criterion: str, *, settings: Settings, seed: int, progress: Progress
) -> Sensitivity:
    """Zero the weakest classes of one family after the other, several shares of it, and look at the answers.

    Args:
        model: any ONNX file.
        data: samples that it was run on.
        criterion: a name of `CRITERIA`.
        settings: how it is run.
        seed: of criteria that draw.
        progress: told how far it is, in families.

    Raises:
        ModelError: the file cannot be read or is broken.
        SessionError: ONNX Runtime cannot run it in parts, or labels are out of its range.
        UserError: no such criterion, or the model offers no class.
    """
    score = CRITERIA.get(criterion)
    offered = classes(graph.analyse(graph.load(model)))
    if not len(offered):
        raise UserError(f"{model} offers no channel that could go: there is nothing to be sensitive to")
    name, far = distance(data)
    measures = [far] if data.labels is None else [far, _accuracy(data.labels)]
    context = Context(seed=seed, data=data, settings=settings, progress=progress)
    scores = score(offered, context)
    masked = MaskedModel(offered, data, settings)
    curves, families = [], makers(offered)
    progress.start(len(families))
    try:
        for number, tensors in enumerate(families):
            curves.append(_curve(offered, tensors, np.flatnonzero(offered.family == number), scores, masked, measures))
            progress.update(1)
    finally:
        progress.stop()
    whole = None if data.labels is None else 100 * float(measures[1](data.answers, np.arange(len(data))).mean())
    return Sensitivity(name, criterion, len(data), whole, curves)


def _curve(
    offered: Classes,
    tensors: list[str],
    members: NDArray[np.int64],
    scores: NDArray[np.float64],
    masked: MaskedModel,
    measures: Sequence[Measure],
) -> Curve:
    order = members[np.argsort(scores[members], kind="stable")]
    counts = sorted({min(max(round(share * order.size), 1), order.size) for share in FRACTIONS})
    choices = np.zeros((len(counts), len(offered)), np.bool_)
    for row, count in zip(choices, counts, strict=True):
        row[order[:count]] = True
    far, *right = masked.means(choices, measures).tolist()
    accuracy = [100 * each for each in right[0]] if right else None
    return Curve(tensors, order.size, [count / order.size for count in counts], far, accuracy)


def _accuracy(labels: NDArray[np.int64]) -> Measure:
    task = named_task("classification")

    def measure(outputs: Outputs, rows: Rows) -> NDArray[np.float64]:
        return task.score(outputs, labels[rows])

    return measure


def table(found: Sensitivity) -> Table:
    """One row per family: the distance, or the accuracy where that is known, per share that is zero."""
    shares = [f"{share:.0%}" for share in FRACTIONS]
    what = f"{found.distance} of {found.samples:,} samples"
    if found.accuracy is not None:
        what = f"accuracy on {found.samples:,} samples, {found.accuracy:.1f} % with all channels"
    made = tables.table(f"{what}; shares of a family zero", "classes", *shares, "family", left=("family",))
    for curve in found.families:
        values = curve.distance if curve.accuracy is None else curve.accuracy
        texts = [f"{np.interp(share, curve.removed, values):.3g}" for share in FRACTIONS]
        more = f" (+{len(curve.tensors) - 1})" if len(curve.tensors) > 1 else ""
        made.add_row(f"{curve.classes:,}", *texts, f"{curve.tensors[0]}{more}")
    return made
