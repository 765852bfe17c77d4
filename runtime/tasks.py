"""What a right answer is: one score from 0 to 1 per sample, from the outputs of a model and the labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.errors import SessionError, did_you_mean
from runtime.pixels import Pixels
from runtime.session import Array

Scores: TypeAlias = NDArray[np.float64]
Outputs: TypeAlias = Mapping[str, Array]
Score: TypeAlias = Callable[[Outputs, Any], Scores]


@dataclass(frozen=True)
class Task:
    """How the outputs for a batch are judged.

    Attributes:
        metric: what the mean of the scores is called.
        score: of outputs by name, each [n, ...], and labels [n, ...], to scores [n], of which more is better.
        pixels: of the same, to what figures over all samples together are made of; None if there are no such figures.
    """

    metric: str
    score: Score
    pixels: Callable[[Outputs, Any], Pixels] | None = None


def named_task(name: str, classes: int | None = None) -> Task:
    """A task by name: ``classification`` or ``segmentation``, by the first output of the model.

    Args:
        name: of the task.
        classes: how many the data has; None to take what the model has.

    Raises:
        SessionError: there is no such task.
    """
    if name not in _TASKS:
        raise SessionError(
            f"unknown task '{name}'; {did_you_mean(name, _TASKS)}valid: {', '.join(_TASKS)} or module:callable"
        )
    metric, score, pixels = _TASKS[name]
    return Task(metric, partial(score, classes=classes), pixels and partial(pixels, classes=classes))


def _top1(outputs: Outputs, labels: Any, classes: int | None) -> Scores:
    """1 where the largest score is that of the right class."""
    right = np.asarray(labels, dtype=np.int64)
    scores = _class_scores(outputs, right, classes)
    predicted, count = scores.argmax(1), scores.shape[1]
    if right.min(initial=0) < 0 or right.max(initial=0) >= count:
        raise SessionError(f"the data has labels from {right.min()} to {right.max()} and the model {count} classes")
    return np.asarray(predicted == right, dtype=np.float64)


def _mean_iou(outputs: Outputs, labels: Any, classes: int | None) -> Scores:
    """Intersection over union, averaged over the classes that are there or predicted.

    Labels that are no class (255 by habit, -1) mark what nobody judges.
    """
    truth = np.asarray(labels, dtype=np.int64)
    found = _class_scores(outputs, truth, classes)
    scores = np.ones(len(truth))
    for place in range(len(truth)):
        pairs = Pixels.of(found[place : place + 1], truth[place : place + 1]).confusion
        both = pairs.diagonal()
        either = pairs.sum(0) + pairs.sum(1) - both
        if either.any():
            scores[place] = (both[either > 0] / either[either > 0]).mean()
    return scores


def _pixels(outputs: Outputs, labels: Any, classes: int | None) -> Pixels:
    """All pixels that are judged."""
    truth = np.asarray(labels, dtype=np.int64)
    return Pixels.of(_class_scores(outputs, truth, classes), truth)


_TASKS: dict[str, tuple[str, Callable[..., Scores], Callable[..., Pixels] | None]] = {
    "classification": ("accuracy", _top1, None),
    "segmentation": ("mean IoU", _mean_iou, _pixels),
}


def _class_scores(outputs: Outputs, labels: Array, classes: int | None) -> Array:
    """A score per class at every place that has a label, [n, classes, ...].

    In the outputs they are [n, classes, ...] or [n, ..., classes]; axes of one element at the end do not count.
    """
    name, scores = next(iter(outputs.items()))
    found = list(scores.shape)
    while scores.ndim > labels.ndim + 1 and scores.shape[-1] == 1:
        scores = scores[..., 0]
    shape = scores.shape
    axes: tuple[int, ...] = (1, labels.ndim) if scores.ndim == labels.ndim + 1 else ()
    axes = tuple(axis for axis in axes if shape[axis] > 1 and shape[:axis] + shape[axis + 1 :] == labels.shape)
    if not axes:
        raise SessionError(
            f"output '{name}' is {found} for labels of {list(labels.shape)}: the task needs one score per class; "
            "judge other outputs with a task of your own, module:callable"
        )
    count = shape[axes[0]]
    if classes not in (None, count):
        raise SessionError(f"output '{name}' has {count} classes and the data {classes}: give the data it is made for")
    return np.moveaxis(scores, axes[0], 1)
