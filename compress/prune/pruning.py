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
from compress.prune.budgets import Budget, Trial, fewest
from compress.prune.calibration import Calibration, arrays, images
from compress.prune.criterion import CRITERIA, Context, Trained
from compress.prune.latency import LatencyForecast, fastest
from compress.prune.selection import Selection, local, protected
from compress.prune.store import Store
from compress.repair import repair
from graph.classes import Classes, Scores, classes
from graph.forecast import Forecast
from graph.values import Mask
from runtime import Settings, open_session

Scope = Literal["global", "local"]
Per = Literal["class", "params", "macs", "latency"]

IMAGES = 256  # as CURL takes
ALIGNMENTS = (1, 4, 8, 16)  # that a budget of latency tries: kernels take channels in blocks


@dataclass(frozen=True)
class Samples:
    """Where calibration data comes from; from nowhere if neither ``data`` nor ``given`` says.

    Attributes:
        data: name of a data set, of which training images are taken.
        folder: where it lies.
        given: files by input, instead.
        count: how many samples at most.
    """

    data: str | None = None
    folder: Path | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    count: int = IMAGES

    @property
    def none(self) -> bool:
        """Whether there are no samples."""
        return self.data is None and not self.given

    def read(self, model: Path, settings: Settings, seed: int) -> Calibration | None:
        """The samples, and the answers of ``model``; errors are those of `images` and `arrays`."""
        if self.none:
            return None
        if self.data is not None and self.given:
            raise UserError("give either --data or --input")
        session = open_session(model, settings)
        if self.data is not None:
            return images(session, self.data, self.folder, self.count, seed)
        return arrays(session, self.given, self.count)


@dataclass(frozen=True)
class Options:
    """How classes are chosen, apart from criterion and budget.

    Attributes:
        floor: fraction of every family of classes that always stays.
        protect: names of tensors that stay whole.
        align: of every family a multiple of this many classes stays, or all of them; None for what a budget of latency
            is met with fewest classes by, and 1 for other budgets.
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
        latency: fraction of it that is left, if that was the budget.
        left: nodes that `repair` could not fit anew, and why.
    """

    zeroed: int
    offered: int
    certificate: graph.Certificate
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
    if options.init is not None and options.rounds > 1:
        raise UserError(
            "--rounds scores the pruned model again, and the PyTorch model of --init is whole: give one of them"
        )
    offered = classes(graph.analyse(graph.load(source)))
    if not len(offered):
        raise UserError(f"{source} offers no channel that could go: compress inspect {source} says what holds them")
    kept = protected(offered, options.protect)
    remembered = options.scores or target.with_name(f"{target.name}.scores.json")
    context = Context(
        seed=options.seed,
        data=options.samples.read(source, options.settings, options.seed),
        trained=_trained(source, options),
        settings=options.settings,
        progress=progress or Silent(),
        store=Store(remembered),
    )
    forecast = None
    if "latency" in (budget, options.per):
        forecast = LatencyForecast(offered, source, options.settings, options.batch)
    costs = _costs(offered, options.per, forecast, context.progress)
    gone = np.zeros(len(offered), np.bool_)
    latency = None
    for number in range(1, options.rounds + 1):
        current = classes(graph.analyse(offered.zeroed(gone))) if gone.any() else offered
        scores = score(current, replace(context, skip=gone | kept)) / costs
        if options.scope == "local":
            scores = local(scores, offered)
        bound = _bound(scores, gone, kept)
        share = fraction ** (number / options.rounds)
        if forecast is not None and budget == "latency":
            aligns = ALIGNMENTS if options.align is None else [options.align]
            selections = [Selection(offered, bound, options.floor, align) for align in aligns]
            gone, latency = fastest(selections, forecast, share, context.progress)
            certificate = graph.shrink(offered.zeroed(gone))[1]
        else:
            selection = Selection(offered, bound, options.floor, options.align or 1)
            trial = Trial(source, selection, budget)
            count = fewest(trial, share)
            gone, certificate = selection.weakest(count), trial.shrunk(count)
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
        remembered.unlink(missing_ok=True)
    return Pruned(int(gone.sum()), len(offered), certificate, latency, left)


def _trained(source: Path, options: Options) -> Trained | None:
    """The PyTorch model, and the task of the data set."""
    if options.init is None or options.samples.data is None:
        return None
    from compress.data import load
    from compress.exporting import resolve
    from compress.models.check import output_of
    from compress.tasks import task_of

    spec = load(options.samples.data, options.samples.folder).spec
    logits = open_session(source, options.settings).outputs[0].shape
    classes = logits[1] if len(logits) > 1 and isinstance(logits[1], int) else None
    own = options.model is None and options.init.startswith("torchvision:")  # trained weights have their own classes
    target = resolve(options.init, model=options.model, shape=spec.shape, classes=None if own else classes)
    output_of(target.module, spec.shape)
    return Trained(target.module, task_of(spec))


def _costs(offered: Classes, per: Per, forecast: LatencyForecast | None, progress: Progress) -> Scores:
    """What every class is divided by."""
    if per == "class":
        return np.ones(len(offered))
    if forecast is not None and per == "latency":
        return forecast.costs(progress)
    parameters, work = Forecast(offered).costs()
    return np.maximum(parameters if per == "params" else work, 1).astype(np.float64)


def _bound(scores: Scores, gone: Mask, kept: Mask) -> Scores:
    """What is gone goes first, and what is protected never does."""
    return np.where(kept, np.inf, np.where(gone, -np.inf, scores))
