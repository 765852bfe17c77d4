"""Second moments of what a node reads, and of that with what it shall make: all that least squares needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from compress.repair.readers import Matrix, Places, Reader
from runtime.session import Array

PER_FEATURE = 128  # places per feature and calibration set: the error of a fit by n of them grows by 1 / n
CHUNK = 2**22  # elements of features at a time
FIXED = 1e12  # the penalty on what shall not change


@dataclass(frozen=True)
class Moments:
    """Means over places of the output.

    Attributes:
        inputs: of x x', [groups, features + 1, features + 1].
        cross: of x y', [groups, features + 1, outputs of one group].
        energy: of the sum over all outputs of (y - mean of y)^2.
        biased: whether there is a bias to fit.
    """

    inputs: Matrix
    cross: Matrix
    energy: float
    biased: bool

    def fit(self, near: Matrix, ridge: float) -> Matrix:
        """The matrix that makes y of x with the least squared error: [groups, features + 1, outputs of one group].

        Args:
            near: a matrix of this shape, from which nothing departs without need.
            ridge: what that weighs, as a fraction of the mean second moment of a feature.
        """
        penalty = self.penalty(ridge)
        right = self.cross + penalty[:, :, None] * near
        return np.asarray(np.linalg.solve(self.damped(ridge), right))

    def penalty(self, ridge: float) -> Matrix:
        """Per group and feature; a bias is free, or stays as it is."""
        diagonal = np.diagonal(self.inputs, axis1=1, axis2=2)
        found = np.empty_like(diagonal)
        found[:] = ridge * diagonal[:, :-1].mean(1, keepdims=True) + np.finfo(np.float32).tiny
        found[:, -1] = 0 if self.biased else FIXED
        return found

    def damped(self, ridge: float) -> Matrix:
        """The second moments of the inputs with the penalty on their diagonal."""
        return np.asarray(self.inputs + self.penalty(ridge)[:, :, None] * np.eye(self.inputs.shape[-1]))


def moments(reader: Reader, weight: Array, pairs: Iterable[tuple[Array, Array]], batches: int, seed: int) -> Moments:
    """Moments over random places of every batch, added up in float64.

    Args:
        reader: the node.
        weight: its weight.
        pairs: per batch, what it reads and what it shall make, in the shape of its output.
        batches: how many pairs there are.
        seed: of the places.
    """
    generator = np.random.default_rng(seed)
    own, made, outputs = reader.features + 1, reader.outputs // reader.groups, reader.outputs
    inputs, cross = np.zeros((reader.groups, own, own)), np.zeros((reader.groups, own, made))
    squares, sums, count = np.zeros(outputs), np.zeros(outputs), 0
    for data, target in pairs:
        for places in _places(reader, target, batches, generator):
            x, y = reader.inputs(data, weight, places), reader.made(target, places)
            turned = x.swapaxes(1, 2)
            inputs += turned @ x
            cross += turned @ y
            squares += np.square(y, dtype=np.float64).sum(1).ravel()
            sums += y.sum(1, dtype=np.float64).ravel()
            count += places.size
    energy = float((squares / count - np.square(sums / count)).sum())
    return Moments(inputs / count, cross / count, energy, reader.bias is not None)


def _places(reader: Reader, target: Array, batches: int, generator: np.random.Generator) -> list[Places]:
    """Random places of one batch, in chunks."""
    total = reader.places(target)
    wanted = -(-PER_FEATURE * (reader.features + 1) // batches)
    chosen = generator.choice(total, wanted, replace=False) if wanted < total else np.arange(total)
    pieces = -(-chosen.size * reader.features * reader.groups // CHUNK)
    return [np.sort(part) for part in np.array_split(chosen, max(pieces, 1))]
