"""Least squares for layers with more features than second moments of them fit into memory, on few rows themselves.

With fewer rows than features the fit departs from the old weights by a combination of the rows, so that a system of one
equation per row says all (the dual form of ridge regression: Saunders, Gammerman and Vovk, ICML 1998).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from compress.repair.layer import Layer, Matrix
from compress.repair.sampling import FOLDS, sampled
from runtime.session import Array

MOST = 512  # rows: 100 MB of 25,088 features


@dataclass(frozen=True)
class Rows:
    """What a layer reads at some places of its output, and what it shall make there.

    Attributes:
        inputs: [groups, n, features + 1], the last being 1.
        made: [groups, n, outputs of one group].
        biased: whether there is a bias to fit.
    """

    inputs: Matrix
    made: Matrix
    biased: bool

    def __add__(self, other: Rows) -> Rows:
        """The places of both."""
        inputs, made = np.concatenate([self.inputs, other.inputs], 1), np.concatenate([self.made, other.made], 1)
        return Rows(inputs, made, self.biased)

    @property
    def count(self) -> int:
        """Places."""
        return int(self.inputs.shape[1])

    def fit(self, near: Matrix, ridge: float) -> Matrix:
        """As `Moments.fit`."""
        missing = self.made - self.inputs @ near
        features = self.inputs[:, :, :-1]
        if self.biased:  # it takes care of means
            mean, shift = features.mean(1, keepdims=True), missing.mean(1, keepdims=True)
            features, missing = features - mean, missing - shift
        products = features @ features.swapaxes(1, 2)
        traces = np.trace(products, axis1=1, axis2=2)[:, None, None] / features.shape[2]
        penalty = (ridge * traces + np.finfo(np.float32).tiny) * np.eye(self.count)
        change = features.swapaxes(1, 2) @ np.linalg.solve(products + penalty, missing)
        found = near.copy()
        found[:, :-1] += change
        if self.biased:
            found[:, -1:] += shift - mean @ change
        return found

    def error(self, matrix: Matrix) -> float:
        """As `Moments.error`."""
        return float(np.square(self.made - self.inputs @ matrix).sum())


def rows(
    layer: Layer, weight: Array, pairs: Iterable[tuple[Array, Array]], samples: Sequence[int], seed: int
) -> tuple[Rows, Rows]:
    """Rows of both halves of `sampled`, at 512 places at most."""
    inputs = [[np.empty((layer.groups, 0, layer.features + 1))] for _ in range(FOLDS)]
    made = [[np.empty((layer.groups, 0, layer.outputs // layer.groups))] for _ in range(FOLDS)]
    for half, x, y in sampled(layer, weight, pairs, samples, MOST, seed):
        inputs[half].append(x)
        made[half].append(y)
    first, second = (
        Rows(np.concatenate(x, 1), np.concatenate(y, 1), layer.bias is not None)
        for x, y in zip(inputs, made, strict=True)
    )
    return first, second
