"""How far are a model's answers from its own if some of its tokens are masked?"""

from __future__ import annotations

import numpy as np

from compress.prune.calibration import Calibration, by_sample
from compress.prune.divergence import distance
from compress.prune.masked import opened
from graph.rows.facts import RowTrace
from graph.rows.masks import masked
from graph.rows.needs import Keep
from runtime import Settings


class MaskedTokens:
    """The model with masks as inputs, open.

    Args:
        trace: its rows.
        data: what it is run on.
        settings: how.

    Attributes:
        measure: what is measured: ``kl``, or ``output-error`` where the answers are no scores of classes.

    Raises:
        SessionError: ONNX Runtime cannot run it.
    """

    def __init__(self, trace: RowTrace, data: Calibration, settings: Settings) -> None:
        self.data, self.copy = data, masked(trace)
        self.session = opened(self.copy.model, settings)
        self.measure, self.of = distance(data)

    def distance(self, keep: Keep) -> float:
        """Mean over the samples, if mixers keep these rows."""
        masks, total = self.copy.feeds(keep), 0.0
        for feeds, at in self.data:
            outputs = by_sample(self.session.run({**feeds, **masks}), feeds, at.stop - at.start)
            total += float(self.of(outputs, np.arange(at.start, at.stop)).sum())
        return total / len(self.data)
