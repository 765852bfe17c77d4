"""Our own rows: importance, budget, repair, shrink, on the ONNX file alone."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

import graph
from compress.repair import importance, repair
from graph.candidates.classes import Classes, Scores, classes
from graph.candidates.forecast import Forecast
from graph.tracing.trace import name_of
from graph.values import Mask
from tests.benchmarks.post_training.field import ONE, Batches


class Pruner:
    """A network whose classes are weighed once and pruned to any number of budgets.

    Args:
        model: the original.
        batches: calibration data.
        inner: keep the classes that several layers make, as those of residual streams.
    """

    def __init__(self, model: ModelProto, batches: Batches, inner: bool = True) -> None:
        self.batches = batches
        self.classes = classes(graph.analyse(model))
        self.forecast = Forecast(self.classes)
        scores = importance(self.classes, batches, settings=ONE)
        scores[_shared(self.classes) & inner] = np.inf
        self.scores: Scores = scores / np.maximum(self.forecast.costs()[1], 1)

    def pruned(self, factor: float, repaired: bool = True) -> ModelProto:
        """The shrunk model at ``factor`` times fewer MACs."""
        return graph.shrink(self.zeroed(factor, repaired))[0]

    def zeroed(self, factor: float, repaired: bool = True) -> ModelProto:
        """The same before it is shrunk."""
        chosen = self.chosen(factor)
        if not repaired:
            return self.classes.zeroed(chosen)
        return repair(self.classes, chosen, self.batches, settings=ONE).model

    def chosen(self, factor: float) -> Mask:
        """The fewest classes whose loss leaves 1 / ``factor`` of the MACs."""
        low, high = 0, int(np.isfinite(self.scores).sum())
        while high - low > 1:
            middle = (low + high) // 2
            left = self.forecast.without(self.classes.weakest(self.scores, middle)).macs
            low, high = (low, middle) if left * factor <= self.forecast.full.macs else (middle, high)
        return self.classes.weakest(self.scores, high)


def _shared(found: Classes) -> Mask:
    """Classes that more than one constant with channels of its own makes: streams."""
    makers = np.zeros(len(found), np.int64)
    for maker in found.offers[0].makers:
        if found.offers[0].program.constants[name_of(found.offers[0].program, maker.use)].ndim > 1:
            makers[np.unique(maker.classes[maker.classes >= 0])] += 1
    return makers > 1
