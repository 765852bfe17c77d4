"""From a trained ONNX file to one in which the weakest channel classes are zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

import graph
from compress.errors import UserError
from compress.files import staged
from compress.progress import Progress, Silent
from compress.prune.budgets import Budget, Trial, check_reachable, fewest
from compress.prune.criterion import CRITERIA, Context, Criterion
from compress.prune.families import Family, families
from compress.prune.latency import LatencyForecast, fastest
from compress.prune.samples import Samples
from compress.prune.selection import Selection, local, protected
from compress.prune.store import Store, scores_file
from compress.prune.trained import trained
from compress.repair import repair
from graph.candidates.classes import Classes, Scores, classes
from graph.candidates.forecast import Forecast
from graph.values import Mask
from runtime import Settings

Scope = Literal["global", "local"]
Per = Literal["class", "params", "macs", "latency"]

ALIGNMENTS = (1, 4, 8, 16)  # that a budget of latency tries: kernels take channels in blocks


@dataclass(frozen=True)
class Options:
    """How classes are chosen, apart from criterion and budget.

    Attributes:
        floor: fraction of every family of classes that always stays.
        protect: names of tensors that stay whole.
        align: widths are multiples of this where anything goes; None for what a budget of latency is met with fewest
            classes by, and 1 for other budgets.
        scope: scores of all families compare, or equal shares of all families go (``local``).
        per: scores are divided by what a class costs in parameters, MACs or latency, or are taken as they are
            (``class``).
        repair: the weights that are left are fitted anew to what every layer made before, on the samples.
        rounds: scores are found anew so many times, on the way to the budget in equal ratios.
        samples: for criteria that look at activations or answers.
        init: the PyTorch model of the file, for criteria that look at gradients: a run, a checkpoint or a name.
        model: what a bare checkpoint holds the weights of.
        scores: file of scores that took long; None for one beside the target that vanishes at the end.
        batch: of the inputs that latency is measured on.
        settings: how models are run.
        seed: of criteria that draw, and of the choice of samples.
    """

    floor: float = 0.05
    protect: Sequence[str] = ()
    align: int | None = None
    scope: Scope = "global"
    per: Per = "class"
    repair: bool = False
    rounds: int = 1
    samples: Samples = field(default_factory=Samples)
    init: str | None = None
    model: str | None = None
    scores: Path | None = None
    batch: int | None = None
    settings: Settings = field(default_factory=Settings)
    seed: int = 0


@dataclass(frozen=True)
class Pruned:
    """What was zeroed, and what `shrink` will leave.

    Attributes:
        zeroed: how many classes.
        offered: of how many.
        certificate: that `shrink` will write.
        reached: which fraction is left of what the budget counts.
        families: where the classes went.
        latency: fraction of it that is left, if that was the budget.
        left: nodes that `repair` could not fit anew, and why.
    """

    zeroed: int
    offered: int
    certificate: graph.Certificate
    reached: float
    families: list[Family]
    latency: float | None = None
    left: Mapping[str, str] = field(default_factory=dict)


def prune_file(
    source: Path,
    target: Path,
    *,
    criterion: str,
    budget: Budget,
    fraction: float,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Pruned:
    """Write a copy of ``source`` in which the classes with the lowest scores are zero.

    Args:
        source: any ONNX file.
        target: where the zeroed model goes.
        criterion: a name of `CRITERIA`.
        budget: what ``fraction`` is of: classes, or what `shrink` leaves of parameters, MACs, bytes or latency.
        fraction: to stay, 0 < fraction <= 1. A latency is met as nearly as it can be measured, the others at most.
        options: everything else.
        progress: told how far scoring is.

    Raises:
        ModelError: the file cannot be read or is broken.
        SessionError: ONNX Runtime cannot run it, or not on these samples.
        UserError: no such criterion, tensor or data, the model offers no class, the budget cannot be reached above the
            floor, or the file cannot be written.
    """
    options = options or Options()
    score = CRITERIA.get(criterion)
    if options.repair and options.samples.none:
        raise UserError("repair looks at activations: give training images with --data, or --input")
    offered = classes(graph.analyse(graph.load(source)))
    if not len(offered):
        raise UserError(f"{source} offers no channel that could go: compress inspect {source} says what holds them")
    kept = protected(offered, options.protect)
    trial = Trial(source, offered, budget)
    if budget != "latency":
        scores = np.where(kept, np.inf, 0.0)
        check_reachable(trial, Selection(offered, scores, options.floor, options.align or 1), fraction)
    module = None
    if options.init is not None:
        module = trained(source, options.settings, options.samples, options.init, options.model)
    context = Context(
        seed=options.seed,
        data=options.samples.read(source, options.settings, options.seed),
        trained=module,
        settings=options.settings,
        progress=progress or Silent(),
        store=Store(scores_file(target, options.scores)),
    )
    gone, latency = _chosen(trial, score, context, kept, fraction, options)
    left: Mapping[str, str] = {}
    if options.repair:
        batches = context.calibration.batches
        repaired = repair(
            offered, gone, batches, seed=options.seed, settings=options.settings, progress=context.progress
        )
        model, left = repaired.model, repaired.left
    else:
        model = offered.zeroed(gone)
    with staged(target) as path:
        graph.save(model, path)
    if options.scores is None:
        scores_file(target, options.scores).unlink(missing_ok=True)
    reached = trial.left(gone) if latency is None else latency
    certificate = trial.shrunk(gone)
    return Pruned(int(gone.sum()), len(offered), certificate, reached, families(offered, gone), latency, left)


def _chosen(
    trial: Trial, score: Criterion, context: Context, kept: Mask, fraction: float, options: Options
) -> tuple[Mask, float | None]:
    """The classes that go [classes, bool], and the latency that is left where this is the budget."""
    offered, current, forecast = trial.classes, trial.classes, None
    if "latency" in (trial.budget, options.per):
        forecast = LatencyForecast(offered, trial.source, options.settings, options.batch)
    costs = _costs(offered, options.per, forecast, context.progress)
    gone, latency = np.zeros(len(offered), np.bool_), None
    for number in range(1, options.rounds + 1):
        if gone.any():
            current = classes(graph.analyse(offered.zeroed(gone)))
        if context.trained is not None and options.rounds > 1:
            context.trained.take(current.analysis.program.model)
        scores = score(current, replace(context, skip=gone | kept)) / costs
        if options.scope == "local":
            scores = local(scores, offered)
        bound = np.where(kept, np.inf, np.where(gone, -np.inf, scores))
        share = fraction ** (number / options.rounds)
        if trial.budget == "latency" and forecast is not None:
            aligns = ALIGNMENTS if options.align is None else [options.align]
            selections = [Selection(offered, bound, options.floor, align) for align in aligns]
            gone, latency = fastest(selections, forecast, share, context.progress)
        else:
            gone = fewest(trial, Selection(offered, bound, options.floor, options.align or 1), share)
    return gone, latency


def _costs(offered: Classes, per: Per, forecast: LatencyForecast | None, progress: Progress) -> Scores:
    """What every class is divided by."""
    if per == "class":
        return np.ones(len(offered))
    if forecast is not None and per == "latency":
        return forecast.costs(progress)
    parameters, work = Forecast(offered).costs()
    return np.maximum(parameters if per == "params" else work, 1).astype(np.float64)
