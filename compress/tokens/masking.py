"""How far are a model's answers from its own if some of its tokens are masked?"""

from __future__ import annotations

import hashlib

import numpy as np

from compress.prune.calibration import Calibration, by_sample
from compress.prune.divergence import distance
from compress.prune.masked import opened
from compress.prune.store import Store
from graph.files.io import digest
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
        store: remembers what was found before.

    Attributes:
        measure: what is measured: ``kl``, or ``output-error`` where the answers are no scores of classes.

    Raises:
        SessionError: ONNX Runtime cannot run it.
    """

    def __init__(self, trace: RowTrace, data: Calibration, settings: Settings, store: Store | None = None) -> None:
        self.data, self.copy, self.store = data, masked(trace), store or Store()
        self.session = opened(self.copy.model, settings)
        self.measure, self.of = distance(data)
        self.key = f"{self.measure} {digest(trace.program.model)} {data.digest()}"

    def distance(self, keep: Keep) -> float:
        """Mean over the samples, if mixers keep these rows."""
        masks = self.copy.feeds(keep)
        content = hashlib.sha256(self.key.encode())
        for name in sorted(masks):
            content.update(masks[name].tobytes())
        key = content.hexdigest()
        found = self.store.load(key, 1)
        if np.isnan(found).any():
            total = 0.0
            for feeds, at in self.data:
                outputs = by_sample(self.session.run({**feeds, **masks}), feeds, at.stop - at.start)
                total += float(self.of(outputs, np.arange(at.start, at.stop)).sum())
            found = np.array([total / len(self.data)])
            self.store.save(key, found, last=True)  # few and dear, so each goes to disk
        return float(found[0])
