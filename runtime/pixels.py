"""How well a class was told for every pixel: figures over all pixels that are judged, of all images together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Pixels:
    """The pixels of some images that have a label.

    Attributes:
        confusion: how many of each class (rows) were taken for which (columns), [classes, classes].
        scores: of two classes, how much that of the second exceeds that of the first, [pixels]; else empty.
        truth: of two classes, where the second is right, bool [pixels]; else empty.
    """

    confusion: Counts
    scores: NDArray[np.floating]
    truth: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: NDArray[np.floating], labels: NDArray[np.int64]) -> Pixels:
        """From scores [n, classes, ...] and labels [n, ...]; a label that is no class is not judged (255 by habit)."""
        classes = scores.shape[1]
        judged = (labels >= 0) & (labels < classes)
        truth = labels[judged]
        counts = confusion(scores.argmax(1)[judged], truth, classes)
        if classes != 2:
            return cls(counts, np.zeros(0, np.float32), np.zeros(0, np.bool_))
        return cls(counts, (scores[:, 1] - scores[:, 0])[judged], truth == 1)

    @classmethod
    def pool(cls, parts: Iterable[Pixels]) -> Pixels:
        """Of all images together."""
        every = list(parts)
        return cls(
            np.sum([each.confusion for each in every], axis=0),
            np.concatenate([each.scores for each in every]),
            np.concatenate([each.truth for each in every]),
        )

    def figures(self) -> dict[str, float]:
        """`counted`, and of two classes the area under the ROC curve."""
        found = counted(self.confusion)
        if 0 < self.truth.sum() < self.truth.size:
            found["AUC"] = area_under_roc(self.scores, self.truth)
        return found


def confusion(predicted: NDArray[np.integer], truth: NDArray[np.integer], classes: int) -> Counts:
    """How many of each class (rows) were taken for which (columns), [classes, classes]."""
    pairs = np.bincount(classes * truth.astype(np.int64) + predicted, minlength=classes**2)
    return pairs.reshape(classes, classes).astype(np.int64, copy=False)


def counted(confusion: Counts) -> dict[str, float]:
    """F1 (Dice), IoU and accuracy from 0 to 1; of two classes also sensitivity and specificity.

    The second of two classes is what is looked for, and F1 and IoU are its own; of more classes, their means over
    those that are there or predicted. Nothing to be found, and nothing found, is as good as can be.
    """
    both, true, found = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    met = true + found > 0
    if len(confusion) == 2:
        met[0] = False
    figures = {
        "F1": _mean(2 * both[met], (true + found)[met]),
        "IoU": _mean(both[met], (true + found - both)[met]),
        "accuracy": _mean(both.sum(keepdims=True), true.sum(keepdims=True)),
    }
    if len(confusion) == 2:
        figures |= {"sensitivity": _mean(both[1:], true[1:]), "specificity": _mean(both[:1], true[:1])}
    return figures


def area_under_roc(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The chance that one that is true scores higher than one that is not, where ties count half.

    It is the rank statistic of Mann and Whitney (Ann. Math. Stat. 18, 1947) over the number of pairs.

    Args:
        scores: [n].
        truth: [n]; some are true and some are not.
    """
    values, place = np.unique(scores, return_inverse=True)
    true, false = (np.bincount(place[each], minlength=len(values)).astype(float) for each in (truth, ~truth))
    below = false.cumsum() - false / 2
    return float(true @ below / (true.sum() * false.sum()))


def _mean(parts: Counts, wholes: Counts) -> float:
    there = wholes > 0
    return float((parts[there] / wholes[there]).mean()) if there.any() else 1.0
