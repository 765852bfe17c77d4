"""How good are the answers of a model, and do two models differ in that by more than chance?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runtime.differences import Differences
from runtime.errors import SessionError
from runtime.feeds import real_feeds
from runtime.pixels import Pixels
from runtime.session import Array, Feeds, Session
from runtime.stats import sign_test
from runtime.tasks import Outputs, Scores, Task, named_task

LabelledBatch: TypeAlias = tuple[Array, Any]  # inputs [n, ...] and labels [n, ...]


@dataclass(frozen=True)
class Accuracy:
    """What a task makes of the answers, sample by sample.

    Attributes:
        scores: from 0 to 1, [n]; in classification 1 for a right answer.
        metric: what their mean is called.
        figures: over all samples together, from 0 to 1 by name, where the task has such.
    """

    scores: Scores
    metric: str = "accuracy"
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which samples have the full score, [n]."""
        return np.asarray(self.scores == 1)

    @property
    def count(self) -> int:
        """How many samples have the full score."""
        return int(self.correct.sum())

    @property
    def total(self) -> int:
        """How many samples there are."""
        return len(self.scores)

    @property
    def percent(self) -> float:
        """The mean score in percent."""
        return 100 * float(self.scores.mean())


@dataclass(frozen=True)
class PairedAccuracy:
    """The scores of two models on the same samples."""

    reference: Accuracy
    candidate: Accuracy

    @property
    def drop(self) -> float:
        """How many percentage points the candidate loses; negative if it gains."""
        return self.reference.percent - self.candidate.percent

    @property
    def lost(self) -> int:
        """Samples on which the reference is better; in classification, that it alone gets right."""
        return int((self.reference.scores > self.candidate.scores).sum())

    @property
    def gained(self) -> int:
        """Samples on which the candidate is better."""
        return int((self.reference.scores < self.candidate.scores).sum())

    @property
    def p_value(self) -> float:
        """Of equal quality: the sign test, two-sided, which in classification is McNemar's exact test (1947)."""
        return sign_test(self.lost, self.gained)


def accuracy(session: Session, batches: Iterable[LabelledBatch], judge: Task | None = None) -> Accuracy:
    """What ``judge`` makes of the answers of a model.

    Args:
        session: a model with one input.
        batches: float32 inputs [n, ...] with labels [n, ...].
        judge: the task; classification if it is None.

    Raises:
        SessionError: there is no data, the model does not take it, or its outputs do not suit the task.
    """
    return _judge(lambda feed, _: (session.run(feed),), session, batches, judge)[0]


def paired_accuracy(
    differences: Differences, batches: Iterable[LabelledBatch], judge: Task | None = None
) -> PairedAccuracy:
    """The same of two models at once, whose outputs ``differences`` compares on the way; see `accuracy`."""
    return PairedAccuracy(*_judge(differences.run, differences.common, batches, judge))


def _judge(
    run: Callable[[Feeds, int], Sequence[Outputs]],
    session: Session,
    batches: Iterable[LabelledBatch],
    judge: Task | None,
) -> list[Accuracy]:
    """One result per model that ``run`` runs; ``session`` says what they take."""
    judge = judge or named_task("classification")
    judged: list[list[tuple[Scores, list[Pixels]]]] = []
    for inputs, labels in batches:
        if len(inputs) != len(labels):
            raise SessionError(f"the data has {len(inputs)} inputs with {len(labels)} labels in one batch")
        if len(inputs):
            answers = zip(*(run(feed, rows) for feed, rows in real_feeds(session, [inputs])), strict=True)
            judged.append([_scored(judge, _joined(parts, len(labels)), labels) for parts in answers])
    if not judged:
        raise SessionError("there is no labelled data to measure accuracy on")
    return [_pooled(judge, each) for each in zip(*judged, strict=True)]


def _joined(parts: Sequence[Outputs], rows: int) -> Outputs:
    """The outputs for one batch, which came in ``parts``; what fills up the last one comes last."""
    return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts])[:rows] for name in parts[0]}


def _scored(judge: Task, outputs: Outputs, labels: Any) -> tuple[Scores, list[Pixels]]:
    scores = np.asarray(judge.score(outputs, labels), dtype=np.float64)
    if scores.shape != (len(labels),) or not np.isfinite(scores).all():
        raise SessionError(f"the task gave {list(scores.shape)} scores for {len(labels)} samples: give one number each")
    return scores, [judge.pixels(outputs, labels)] if judge.pixels else []


def _pooled(judge: Task, batches: Sequence[tuple[Scores, list[Pixels]]]) -> Accuracy:
    pixels = [each for _, part in batches for each in part]
    figures = Pixels.pool(pixels).figures() if pixels else {}
    return Accuracy(np.concatenate([scores for scores, _ in batches]), judge.metric, figures)
