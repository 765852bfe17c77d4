"""Second moments of what a layer reads, and of that with what it shall make: all that least squares needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from compress.repair.layer import Layer, Matrix
from compress.repair.sampling import FOLDS, sampled
from runtime.session import Array

PER_FEATURE = 128  # places per feature and calibration set: the error of a fit by n of them grows by 1 / n
FIXED = 1e12  # the penalty on what shall not change
ROUNDING = 1e-9  # of second moments: a penalty where nothing varies


@dataclass(frozen=True)
class Moments:
    """Sums over places of the output.

    Attributes:
        inputs: of x x', [groups, features + 1, features + 1].
        cross: of x y', [groups, features + 1, outputs of one group].
        sums: of y, [outputs].
        squares: of y^2, [outputs].
        count: of places.
        biased: whether there is a bias to fit.
    """

    inputs: Matrix
    cross: Matrix
    sums: Matrix
    squares: Matrix
    count: int
    biased: bool

    def __add__(self, other: Moments) -> Moments:
        """Of the places of both."""
        return Moments(
            self.inputs + other.inputs,
            self.cross + other.cross,
            self.sums + other.sums,
            self.squares + other.squares,
            self.count + other.count,
            self.biased,
        )

    @property
    def energy(self) -> float:
        """Mean over places of the sum over all outputs of (y - mean of y)^2."""
        return float((self.squares / self.count - np.square(self.sums / self.count)).sum())

    def fit(self, near: Matrix, ridge: float) -> Matrix:
        """The matrix that makes y of x with the least squared error: [groups, features + 1, outputs of one group].

        Args:
            near: a matrix of this shape, from which nothing departs without need.
            ridge: what that weighs, as a fraction of the mean variance of a feature.
        """
        right = self.cross / self.count + self._penalty(ridge)[:, :, None] * near
        return np.asarray(np.linalg.solve(self.damped(ridge), right))

    def error(self, matrix: Matrix) -> float:
        """The sum over places and outputs of the squared error of a matrix."""
        return float(self.squares.sum() + (matrix * (self.inputs @ matrix - 2 * self.cross)).sum())

    def damped(self, ridge: float) -> Matrix:
        """The mean second moments of the inputs with the penalty on their diagonal."""
        return np.asarray(self.inputs / self.count + self._penalty(ridge)[:, :, None] * np.eye(self.inputs.shape[-1]))

    def _penalty(self, ridge: float) -> Matrix:
        """Per group and feature; a bias is free and takes care of means, or stays as it is."""
        second = np.diagonal(self.inputs, axis1=1, axis2=2) / self.count
        variance = second - np.square(self.inputs[:, -1] / self.count) if self.biased else second
        found = np.empty_like(second)
        found[:] = (ridge * variance + ROUNDING * second)[:, :-1].mean(1, keepdims=True) + np.finfo(np.float32).tiny
        found[:, -1] = 0 if self.biased else FIXED
        return found


def moments(
    layer: Layer, weight: Array, pairs: Iterable[tuple[Array, Array]], samples: Sequence[int], seed: int
) -> tuple[Moments, Moments]:
    """Moments of both halves of `sampled`."""
    own, outputs = layer.features + 1, layer.outputs
    inputs = np.zeros((FOLDS, layer.groups, own, own))
    cross = np.zeros((FOLDS, layer.groups, own, outputs // layer.groups))
    squares, sums, counts = np.zeros((FOLDS, outputs)), np.zeros((FOLDS, outputs)), [0] * FOLDS
    for half, x, y in sampled(layer, weight, pairs, samples, PER_FEATURE * own, seed):
        turned = x.swapaxes(1, 2)
        inputs[half] += turned @ x
        cross[half] += turned @ y
        squares[half] += np.square(y).sum(1).ravel()
        sums[half] += y.sum(1).ravel()
        counts[half] += x.shape[1]
    found = zip(inputs, cross, sums, squares, counts, strict=True)
    first, second = (Moments(*each, layer.bias is not None) for each in found)
    return first, second
