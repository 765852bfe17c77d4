"""Which classes can be left out of a sum at the least cost, if the weights of the others may make up for them?

Optimal brain surgery on whole classes: with H the second moments of what a node reads and W its weights, leaving out
the features S costs tr(W_S' (H^-1)_SS^-1 W_S), and the others' best weights, and H^-1, follow in closed form. Sources:
Hassibi and Stork, NeurIPS 1992; for structures, Kurtic, Frantar and Alistarh, "ZipLM", NeurIPS 2023, eq. 2 to 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compress.repair.layer import Matrix

Numbers = NDArray[np.int64]

ROUNDS = 64  # of one family at most: in each, equally many classes go at once
FELT = 0.01  # an error that is one: redundant classes add nothing but the penalty on weights that change


@dataclass
class Sum:
    """One group of a node, which sums over classes.

    Attributes:
        weights: [features + 1, outputs]; they change as classes leave.
        inverse: of the second moments, [features + 1, features + 1]; so does it.
        energy: what errors are relative to.
        blocks: features [n, size] of n classes [n] that have equally many of them.
    """

    weights: Matrix
    inverse: Matrix
    energy: float
    blocks: list[tuple[Numbers, Numbers]] = field(default_factory=list)

    @staticmethod
    def of(weights: Matrix, moments: Matrix, energy: float, classes: Numbers) -> Sum:
        """A sum in which every feature has a class [features], or -1."""
        members = [(number, np.flatnonzero(classes == number)) for number in np.unique(classes[classes >= 0])]
        blocks = []
        for size in {own.size for _, own in members}:
            some = [(number, own) for number, own in members if own.size == size]
            blocks.append((np.array([number for number, _ in some]), np.array([own for _, own in some])))
        return Sum(weights.copy(), np.asarray(np.linalg.inv(moments)), energy, blocks)

    def costs(self, count: int) -> Matrix:
        """The squared error, relative to the energy, that each of ``count`` classes would add alone."""
        costs = np.zeros(count)
        for numbers, own in self.blocks:
            held, inner = self.weights[own], self.inverse[own[:, :, None], own[:, None, :]]
            costs[numbers] = (held * np.linalg.solve(inner, held)).sum((1, 2))
        return costs / self.energy

    def remove(self, numbers: Numbers) -> float:
        """Leave out some classes; the error that this adds."""
        going = [own[np.isin(members, numbers)].ravel() for members, own in self.blocks]
        gone = np.concatenate(going) if going else np.array([], np.int64)
        if not gone.size:
            return 0.0
        held, columns = self.weights[gone], self.inverse[:, gone]
        solved = np.linalg.solve(columns[gone], np.concatenate([held, columns.T], 1))
        error = float((held * solved[:, : held.shape[1]]).sum())
        self.weights -= columns @ solved[:, : held.shape[1]]
        self.inverse -= columns @ solved[:, held.shape[1] :]
        self.weights[gone] = 0
        self.blocks = [(m[~np.isin(m, numbers)], own[~np.isin(m, numbers)]) for m, own in self.blocks]
        return error / self.energy


@dataclass
class Elimination:
    """The order in which the classes of one family leave the sums that read them.

    Attributes:
        order: their numbers, the first to go first; the last ones are those that stay.
        costs: the error that each added, [classes], in this order.
        error: the sum of errors when half of them were gone, or more if that was not felt yet.
        half: the classes that were gone then.
        weights: of the sums then.
    """

    order: Numbers
    costs: Matrix
    error: float
    half: Numbers
    weights: list[Matrix]


def eliminate(sums: Sequence[Sum], members: Numbers, count: int) -> Elimination:
    """Take the classes ``members`` of a family out of all ``sums``, of ``count`` classes in the graph.

    Every round takes those that cost least, and their cost is what they add to what was taken before.
    """
    left, order, costs = members, [], []
    step, total = -(-members.size // ROUNDS), 0.0
    half: tuple[float, Numbers, list[Matrix]] | None = None
    while left.size:
        found = sum((each.costs(count) for each in sums), np.zeros(count))[left]
        least = np.argsort(found, kind="stable")[:step]
        if left.size <= step:
            least = np.argsort(found, kind="stable")
        numbers = left[least]
        order.append(numbers)
        costs.append(found[least])
        left = np.setdiff1d(left, numbers, assume_unique=True)
        total += sum(each.remove(numbers) for each in sums)
        if half is None and 2 * left.size <= members.size and (total >= FELT or not left.size):
            half = total, np.concatenate(order), [each.weights.copy() for each in sums]
    assert half is not None
    return Elimination(np.concatenate(order), np.maximum.accumulate(np.concatenate(costs)), *half)
