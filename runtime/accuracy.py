"""How often is the largest output the right class, and do two models differ in that by more than chance?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.errors import SessionError
from runtime.feeds import real_feeds
from runtime.session import Array, Feeds, Session
from runtime.stats import sign_test

Classes: TypeAlias = NDArray[np.int64]
LabelledBatch: TypeAlias = tuple[Array, Classes]


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy, image by image.

    Attributes:
        predictions: the predicted class of each image, [n].
        labels: the right one, [n].
    """

    predictions: Classes
    labels: Classes

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which images are classified right, [n]."""
        return np.asarray(self.predictions == self.labels)

    @property
    def count(self) -> int:
        """How many images are classified right."""
        return int(self.correct.sum())

    @property
    def total(self) -> int:
        """How many images there are."""
        return len(self.labels)

    @property
    def percent(self) -> float:
        """The accuracy in percent."""
        return 100 * self.count / self.total


@dataclass(frozen=True)
class PairedAccuracy:
    """The accuracy of two models on the same images."""

    reference: Accuracy
    candidate: Accuracy

    @property
    def drop(self) -> float:
        """How many percentage points the candidate loses; negative if it gains."""
        return self.reference.percent - self.candidate.percent

    @property
    def lost(self) -> int:
        """Images that only the reference classifies right."""
        return int((self.reference.correct & ~self.candidate.correct).sum())

    @property
    def gained(self) -> int:
        """Images that only the candidate classifies right."""
        return int((self.candidate.correct & ~self.reference.correct).sum())

    @property
    def p_value(self) -> float:
        """Of equal accuracy: McNemar's exact test (McNemar 1947), two-sided."""
        return sign_test(self.lost, self.gained)


def accuracy(session: Session, batches: Iterable[LabelledBatch]) -> Accuracy:
    """Top-1 accuracy by the first output: a score per class, [n, classes], [n, classes, 1, 1], ...

    Args:
        session: a model with one input.
        batches: float32 images [n, ...] with int64 labels [n].

    Raises:
        SessionError: there are no images, the model does not take them, or its first output is not
            a score per class.
    """
    return _accuracies((session,), batches)[0]


def paired_accuracy(reference: Session, candidate: Session, batches: Iterable[LabelledBatch]) -> PairedAccuracy:
    """The accuracy of two models from one pass over ``batches``; see ``accuracy``."""
    return PairedAccuracy(*_accuracies((reference, candidate), batches))


def _accuracies(sessions: Sequence[Session], batches: Iterable[LabelledBatch]) -> list[Accuracy]:
    predictions: list[list[Classes]] = [[] for _ in sessions]
    labels: list[Classes] = []
    for images, right in batches:
        if len(images) != len(right):
            raise SessionError(f"the data has {len(images)} images with {len(right)} labels in one batch")
        labels.append(np.asarray(right, dtype=np.int64))
        for session, predicted in zip(sessions, predictions, strict=True):
            predicted += [_predict(session, feed)[:rows] for feed, rows in real_feeds(session, [images])]
    if not any(map(len, labels)):
        raise SessionError("there are no labelled images to measure accuracy on")
    truth = np.concatenate(labels)
    return [Accuracy(np.concatenate(predicted), truth) for predicted in predictions]


def _predict(session: Session, feed: Feeds) -> Classes:
    name = session.outputs[0].name
    scores = session.run(feed)[name]
    n = len(next(iter(feed.values())))
    if scores.ndim < 2 or scores.shape[0] != n or scores.size != n * scores.shape[1] or scores.shape[1] < 2:
        raise SessionError(
            f"{session.name}: output '{name}' is {list(scores.shape)} for {n} images: "
            f"accuracy needs one score per class, [{n}, classes]"
        )
    return np.asarray(scores.reshape(n, -1).argmax(1), dtype=np.int64)
