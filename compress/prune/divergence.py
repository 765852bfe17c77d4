"""Criteria that run the network without a class: how far are its answers from what they were?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from compress.errors import UserError
from compress.prune.calibration import Calibration, Outputs
from compress.prune.criterion import CRITERIA, Context
from compress.prune.distributions import Distributions, mean_by_row
from compress.prune.masked import MaskedModel, Measure, Rows
from graph.candidates.classes import Classes, Scores
from graph.candidates.masks import alike
from graph.counts import macs
from graph.files.io import digest
from graph.values import Mask

CHUNK, WORK = 32, 2e11  # classes, and MACs, between two signs of life: some seconds
MOVED = 1.5  # logits apart, on average over the others, from which on they are run

Run = Callable[[Mask, Mask], Scores]  # from choices [n, classes] among members [classes] to scores [n]


@CRITERIA.register("kl")
def kl(classes: Classes, context: Context) -> Scores:
    """CURL's criterion: KL divergence of the answers without the class from those with it, averaged over the samples.

    A class is masked at once in all tensors that it couples, such as those of a residual stream. Samples of which the
    model is sure are run only where the others move: if logits move apart by D, KL is at most D^2 exp(D) / 2 times the
    doubt 1 - max p (the variance of the move along the way, integrated). `SURE` keeps that below 1e-4 up to D = 4.

    Source: Luo and Wu, Neural Network Pruning with Residual-Connections and Limited-Data, CVPR 2020.
    """
    told = Distributions.of(context.calibration)
    apart = classes.analysis.program.batched and context.calibration.divisible
    sure = told.sure() if apart else np.zeros(len(context.calibration), np.bool_)
    if not 0 < sure.sum() < sure.size:
        return _scored("kl", classes, context, lambda: _mean(classes, context, told.divergence))
    return _scored("kl", classes, context, lambda: _doubtful_first(classes, context, told, sure))


@CRITERIA.register("output-error")
def output_error(classes: Classes, context: Context) -> Scores:
    """Squared error of all outputs without the class, over their variance: for models that are no classifiers."""
    measure = _error(context.calibration)
    return _scored("output-error", classes, context, lambda: _mean(classes, context, measure))


def distance(calibration: Calibration) -> tuple[str, Measure]:
    """KL where the first output can be compared by it, else the error of all outputs; with its criterion's name.

    Raises:
        UserError: there is nothing to compare.
    """
    try:
        return "kl", Distributions.of(calibration).divergence
    except UserError:
        return "output-error", _error(calibration)


def _mean(classes: Classes, context: Context, measure: Measure) -> Run:
    model = MaskedModel(classes, context.calibration, context.settings)
    return lambda choices, members: model.means(choices, [measure], members)[0]


def _doubtful_first(classes: Classes, context: Context, told: Distributions, sure: Mask) -> Run:
    """KL over all samples; those which are ``sure`` [samples] count as unmoved where the others hardly move."""
    near, far = (MaskedModel(classes, context.calibration.subset(each), context.settings) for each in (~sure, sure))
    doubtful, rest = told.subset(~sure), told.subset(sure)
    unmoved = sum(
        rest.divergence(plain, np.arange(at.start, at.stop)).sum()
        for plain, (_, at) in zip(far.plain, far.calibration, strict=True)
    )

    def run(choices: Mask, members: Mask) -> Scores:
        first, spread = near.means(choices, [doubtful.divergence, doubtful.spread], members)
        second = np.full(len(choices), unmoved / sure.sum())
        moved = spread > MOVED
        if moved.any():
            second[moved] = far.means(choices[moved], [rest.divergence], members)[0]
        return np.asarray((1 - sure.mean()) * first + sure.mean() * second)

    return run


def _error(calibration: Calibration) -> Measure:
    answers = {name: array.astype(np.float64) for name, array in calibration.answers.items() if array.dtype.kind == "f"}
    if not answers:
        raise UserError("no output is a tensor of floats with a row per sample: there is no error to measure")
    scales = {name: array.var() or 1.0 for name, array in answers.items()}

    def measure(outputs: Outputs, rows: Rows) -> Scores:
        total = np.zeros(len(rows))
        for name, before in answers.items():
            error = np.square(outputs[name] - before[rows]) / scales[name]
            total += mean_by_row(error)
        return total

    return measure


def _scored(name: str, classes: Classes, context: Context, prepare: Callable[[], Run]) -> Scores:
    """Every class by itself, all but those that are known already or skipped; the latter are infinite."""
    content = [name, digest(classes.analysis.program.model), context.calibration.digest()]
    key = hashlib.sha256(" ".join(content).encode()).hexdigest()
    scores = context.store.load(key, len(classes))
    needed = np.ones(len(classes), np.bool_) if context.skip is None else ~context.skip
    context.progress.start(int(needed.sum()), int((needed & ~np.isnan(scores)).sum()))
    work = macs(classes.analysis.program) * len(context.calibration)
    chunk = int(np.clip(WORK / max(work, 1), 1, CHUNK))
    try:
        run = prepare()
        for group in alike(classes):
            left = np.flatnonzero(group & needed & np.isnan(scores))
            for start in range(0, left.size, chunk):
                part = left[start : start + chunk]
                choices = np.zeros((part.size, len(classes)), np.bool_)
                choices[np.arange(part.size), part] = True
                scores[part] = run(choices, group & needed)
                context.store.save(key, scores)
                context.progress.update(part.size)
    finally:
        context.store.save(key, scores, last=True)
        context.progress.stop()
    return np.where(needed, scores, np.inf)
