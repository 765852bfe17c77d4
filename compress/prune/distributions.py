"""Answers as distributions over classes, and how far others are from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax

from compress.errors import UserError
from compress.prune.calibration import Calibration, Outputs
from compress.prune.masked import Rows
from graph.candidates.classes import Scores
from graph.values import Mask
from runtime.session import Array

TINY = 1e-30  # probabilities are at least
SURE = 1e-7  # mean doubt of samples that hardly matter


@dataclass(frozen=True)
class Distributions:
    """The first output as distributions over classes: [samples, classes] or [samples, classes, ...], logits or not.

    What is one already, as behind a Softmax, is told by its sums. Places, as those of pixels, are averaged.

    Attributes:
        output: by name.
        axis: of the classes.
        normalised: it holds probabilities, not logits.
        logarithms: of the probabilities.
    """

    output: str
    axis: int
    normalised: bool
    logarithms: Array

    @classmethod
    def of(cls, calibration: Calibration) -> Distributions:
        """Those that the model answered with.

        Raises:
            UserError: the first output is no such thing.
        """
        name, answers = next(iter(calibration.answers.items()), ("", np.zeros(0)))
        if answers.ndim < 2 or answers.shape[1] < 2 or answers.dtype.kind != "f":
            found = f"output '{name}' is {answers.dtype} {list(answers.shape)}" if name else "no output has rows"
            raise UserError(f"KL compares scores of classes, float [n, classes, ...], and {found}: try output-error")
        axes = [axis for axis in (1, answers.ndim - 1) if _sums_to_one(answers, axis)]
        axis, normalised = (axes[0], True) if axes else (1, False)
        return cls(name, axis, normalised, _logarithms(answers, axis, normalised))

    def divergence(self, outputs: Outputs, rows: Rows) -> Scores:
        """KL(outputs || answers) per sample of ``rows``."""
        after = self._read(outputs)
        return mean_by_row((np.exp(after) * (after - self.logarithms[rows])).sum(self.axis))

    def spread(self, outputs: Outputs, rows: Rows) -> Scores:
        """How far logits move apart, per sample: the largest move minus the smallest, on average over places."""
        return mean_by_row(np.ptp(self._read(outputs) - self.logarithms[rows], axis=self.axis))

    def sure(self) -> Mask:
        """The samples that matter least: as many as have a mean doubt of `SURE` over all samples together."""
        doubt = mean_by_row(-np.expm1(self.logarithms.max(self.axis)))
        order = np.argsort(doubt)
        sure = np.zeros(doubt.size, np.bool_)
        sure[order[np.cumsum(doubt[order]) <= SURE * doubt.size]] = True
        return sure

    def subset(self, chosen: Mask) -> Distributions:
        """Of the ``chosen`` samples [samples, bool]."""
        return replace(self, logarithms=self.logarithms[chosen])

    def _read(self, outputs: Outputs) -> Array:
        return _logarithms(outputs[self.output], self.axis, self.normalised)


def mean_by_row(values: Array) -> Scores:
    """Mean over all axes but the first."""
    return np.asarray(values.reshape(len(values), -1).mean(1))


def _sums_to_one(answers: Array, axis: int) -> bool:
    return bool((answers >= 0).all() and np.allclose(answers.sum(axis, dtype=np.float64), 1, atol=1e-3))


def _logarithms(values: Array, axis: int, normalised: bool) -> Array:
    values = values.astype(np.float64)
    return np.log(np.maximum(values, TINY)) if normalised else np.asarray(log_softmax(values, axis=axis))
