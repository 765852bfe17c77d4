"""Criteria that run the network without a class: how far are its answers from what they were?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from scipy.special import log_softmax

from compress.errors import UserError
from compress.prune.calibration import Calibration, Outputs
from compress.prune.criterion import CRITERIA, Context
from compress.prune.masked import MaskedModel, Measure, Rows
from graph.classes import Classes, Scores
from graph.io import digest
from graph.masks import alike
from graph.values import Mask
from runtime.session import Array

CHUNK = 32  # classes between two looks at the clock
TINY = 1e-30  # probabilities are at least
SURE = 1e-7  # mean doubt of the samples that need not be run
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
    data = context.calibration
    measure = divergence(data)
    sure = _sure(data) if classes.analysis.program.batched else np.zeros(len(data), np.bool_)
    if not 0 < sure.sum() < sure.size:
        return _scored("kl", classes, context, lambda: _mean(classes, context, measure))
    return _scored("kl", classes, context, lambda: _doubtful_first(classes, context, sure))


@CRITERIA.register("output-error")
def output_error(classes: Classes, context: Context) -> Scores:
    """Squared error of all outputs without the class, over their variance: for models that are no classifiers."""
    measure = _error(context.calibration)
    return _scored("output-error", classes, context, lambda: _mean(classes, context, measure))


def divergence(calibration: Calibration) -> Measure:
    """KL(masked || original) per sample, from the first output: [n, classes] or [n, classes, ...], logits or not.

    What is already a distribution, as behind a Softmax, is told by its sums. Places, as those of pixels, are averaged.

    Raises:
        UserError: the output is no such thing.
    """
    name, before, normalised = _answers(calibration)

    def measure(outputs: Outputs, rows: Rows) -> Scores:
        after = _log_probabilities(outputs[name], normalised)
        per_place = (np.exp(after) * (after - before[rows])).sum(1)
        return np.asarray(per_place.reshape(len(rows), -1).mean(1))

    return measure


def distance(calibration: Calibration) -> tuple[str, Measure]:
    """KL where the first output can be compared by it, else the error of all outputs; with its criterion's name.

    Raises:
        UserError: there is nothing to compare.
    """
    try:
        return "kl", divergence(calibration)
    except UserError:
        return "output-error", _error(calibration)


def _log_probabilities(outputs: Array, normalised: bool) -> Array:
    values = outputs.astype(np.float64)
    return np.log(np.maximum(values, TINY)) if normalised else np.asarray(log_softmax(values, axis=1))


def _answers(calibration: Calibration) -> tuple[str, Array, bool]:
    """The first output by name, its log probabilities, and whether it is a distribution as it is."""
    name, answers = next(iter(calibration.answers.items()), ("", np.zeros(0)))
    if answers.ndim < 2 or answers.shape[1] < 2 or answers.dtype.kind != "f":
        found = f"output '{name}' is {answers.dtype} {list(answers.shape)}" if name else "no output has rows"
        raise UserError(f"KL compares scores of classes, float [n, classes, ...], and {found}: try output-error")
    normalised = bool((answers >= 0).all() and np.allclose(answers.sum(1, dtype=np.float64), 1, atol=1e-3))
    return name, _log_probabilities(answers, normalised), normalised


def _sure(calibration: Calibration) -> Mask:
    """The samples that matter least: as many as have a mean doubt of `SURE` over all samples together."""
    _, before, _ = _answers(calibration)
    doubt = -np.expm1(before.max(1)).reshape(len(calibration), -1).mean(1)
    order = np.argsort(doubt)
    sure = np.zeros(doubt.size, np.bool_)
    sure[order[np.cumsum(doubt[order]) <= SURE * doubt.size]] = True
    return sure


def _spread(calibration: Calibration) -> Measure:
    """How far logits move apart, per sample: the largest move minus the smallest, on average over places."""
    name, before, normalised = _answers(calibration)

    def measure(outputs: Outputs, rows: Rows) -> Scores:
        move = _log_probabilities(outputs[name], normalised) - before[rows]
        return np.asarray((move.max(1) - move.min(1)).reshape(len(rows), -1).mean(1))

    return measure


def _mean(classes: Classes, context: Context, measure: Measure) -> Run:
    model = MaskedModel(classes, context.calibration, context.settings)
    return lambda choices, members: model.means(choices, [measure], members)[0]


def _doubtful_first(classes: Classes, context: Context, sure: Mask) -> Run:
    """KL over all samples; those which are ``sure`` [samples] count as unmoved where the others hardly move."""
    doubtful, rest = (context.calibration.subset(each) for each in (~sure, sure))
    near, far = (MaskedModel(classes, each, context.settings) for each in (doubtful, rest))
    measures, last = [divergence(doubtful), _spread(doubtful)], divergence(rest)
    unmoved = sum(
        last(plain, np.arange(at.start, at.stop)).sum() for plain, (_, at) in zip(far.plain, rest, strict=True)
    )

    def run(choices: Mask, members: Mask) -> Scores:
        first, spread = near.means(choices, measures, members)
        second = np.full(len(choices), unmoved / len(rest))
        moved = spread > MOVED
        if moved.any():
            second[moved] = far.means(choices[moved], [last], members)[0]
        return np.asarray((first * len(doubtful) + second * len(rest)) / sure.size)

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
            total += error.reshape(len(rows), -1).mean(1)
        return total

    return measure


def _scored(name: str, classes: Classes, context: Context, prepare: Callable[[], Run]) -> Scores:
    """Every class by itself, all but those that are known already or skipped; the latter are infinite."""
    content = [name, digest(classes.analysis.program.model), context.calibration.digest()]
    key = hashlib.sha256(" ".join(content).encode()).hexdigest()
    scores = context.store.load(key, len(classes))
    needed = np.ones(len(classes), np.bool_) if context.skip is None else ~context.skip
    context.progress.start(int(needed.sum()), int((needed & ~np.isnan(scores)).sum()))
    try:
        run = prepare()
        for group in alike(classes):
            left = np.flatnonzero(group & needed & np.isnan(scores))
            for start in range(0, left.size, CHUNK):
                part = left[start : start + CHUNK]
                choices = np.zeros((part.size, len(classes)), np.bool_)
                choices[np.arange(part.size), part] = True
                scores[part] = run(choices, group & needed)
                context.store.save(key, scores)
                context.progress.update(part.size)
    finally:
        context.store.save(key, scores, last=True)
        context.progress.stop()
    return np.where(needed, scores, np.inf)
