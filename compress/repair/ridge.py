"""How much weights shall hold on to what they were: as much as samples that a fit has not seen say.

With few samples for its features, a fit learns them by heart: with equally many it is at its worst, far worse than no
fit at all. So each half of the samples judges fits to the other half (cross-validation: Stone, Journal of the Royal
Statistical Society B, 1974; ridge regression: Hoerl and Kennard, Technometrics 1970).
"""

from __future__ import annotations

from itertools import permutations
from typing import TypeVar

from compress.repair.layer import Matrix
from compress.repair.moments import Moments
from compress.repair.rows import Rows

Known = TypeVar("Known", Moments, Rows)

LARGEST = 100.0  # of a penalty: with more than the variance of all features nothing moves
STEP = 10.0


def fitted(folds: tuple[Known, Known], near: Matrix, ridge: float) -> Matrix:
    """The fit to both halves, with the penalty under which a fit to one half suits the other one best.

    Args:
        folds: of a layer.
        near: its matrix, from which nothing departs without need.
        ridge: the smallest penalty, as in `Moments.fit`; it grows as long as that makes the error smaller.
    """
    both = folds[0] + folds[1]
    if not folds[0].count or not folds[1].count:
        return both.fit(near, LARGEST)  # of a single sample only means are taken
    best, least = ridge, _missed(folds, near, ridge)
    while best < LARGEST and (more := _missed(folds, near, STEP * best)) < least:
        best, least = STEP * best, more
    return both.fit(near, best)


def _missed(folds: tuple[Known, Known], near: Matrix, ridge: float) -> float:
    """The squared error of the fits to either half on the other one."""
    return sum(one.error(other.fit(near, ridge)) for one, other in permutations(folds))
