"""Zero the channel classes that matter least, down to a budget. Nothing is removed here: that is `shrink`'s work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import graph
from compress.errors import UserError
from compress.files import staged
from compress.registry import unknown
from graph.classes import Classes, Scores, classes
from graph.criteria import CRITERIA

Budget = Literal["keep", "params", "macs"]


@dataclass(frozen=True)
class Pruned:
    """What was zeroed, and what `shrink` will leave."""

    zeroed: int
    offered: int
    certificate: graph.Certificate


def prune_file(
    source: Path, target: Path, *, criterion: str, budget: Budget, fraction: float, seed: int, floor: float
) -> Pruned:
    """Write a copy of ``source`` in which the classes with the lowest scores are zero.

    Args:
        source: any ONNX file.
        target: where the zeroed model goes.
        criterion: a name of `graph.criteria.CRITERIA`.
        budget: what ``fraction`` is of: classes, or the parameters or MACs that `shrink` leaves.
        fraction: to stay, 0 < fraction <= 1.
        seed: for criteria that draw.
        floor: fraction of every family of classes that always stays.

    Raises:
        ModelError: the file cannot be read or is broken.
        UserError: no such criterion, the model offers no class, the budget cannot be reached above the floor, or
            the file cannot be written.
    """
    if criterion not in CRITERIA:
        raise unknown("criterion", criterion, list(CRITERIA))
    offered = classes(graph.analyse(graph.load(source)))
    if not len(offered):
        raise UserError(f"{source} offers no channel that could go: compress inspect {source} says what holds them")
    scores = CRITERIA[criterion](offered, seed)
    most = int(offered.weakest(scores, len(offered), floor).sum())
    if budget == "keep":
        count = min(round((1 - fraction) * len(offered)), most)
    else:
        count = _fewest(offered, scores, most, budget, fraction, floor)
    chosen = offered.weakest(scores, count, floor)
    model = offered.zeroed(chosen)
    _, certificate = graph.shrink(model)
    with staged(target) as trial:
        graph.save(model, trial)
    return Pruned(int(chosen.sum()), len(offered), certificate)


def _fewest(offered: Classes, scores: Scores, most: int, budget: Budget, fraction: float, floor: float) -> int:
    """How many classes must go at least, found by bisection."""

    def left(count: int) -> float:
        _, certificate = graph.shrink(offered.zeroed(offered.weakest(scores, count, floor)))
        if budget == "params":
            return certificate.output.parameters / certificate.input.parameters
        return certificate.output.macs / certificate.input.macs

    if left(most) > fraction:
        raise UserError(
            f"{fraction:.1%} of the {budget} cannot be reached: {left(most):.1%} are left with every class gone that "
            "may go; lower --floor, or see compress inspect for what holds the others"
        )
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if left(middle) <= fraction else (middle, high)
    return high
