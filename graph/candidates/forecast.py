"""How big a model would be without some of its channel classes, by counting alone.

What absorbs or carries constants is not counted, nor are channels that go because others did: `shrink` knows, and takes
a thousand times as long.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from graph.candidates.classes import Classes, Offer
from graph.counts import Size, macs, size
from graph.model.program import Shape
from graph.tracing.trace import name_of
from graph.values import Mask


class Forecast:
    """A model's size, ready to be asked about one choice of classes after the other."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.full = size(classes.analysis.program)

    def without(self, chosen: Mask) -> Size:
        """The size when the ``chosen`` classes [classes, bool] are gone."""
        parameters, work = self.full.parameters, self.full.macs
        ends = np.cumsum([offer.family.size for offer in self.classes.offers])
        for offer, own in zip(self.classes.offers, np.split(chosen, ends[:-1]), strict=True):
            shapes = shapes_without(offer, own)
            program = offer.program
            weights = [name for name in shapes if name in program.constants]
            parameters -= sum(prod(program.shapes[name]) - prod(shapes[name]) for name in weights)
            alone = replace(program, bodies={})
            work -= macs(alone) - macs(replace(alone, shapes=program.shapes | shapes))
        return Size(parameters, work)

    def costs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Parameters and MACs [classes] that each class takes with it when it goes alone."""
        alike = np.zeros(len(self.classes))  # a random projection of how many channels of which axes are the class's
        draw = np.random.default_rng(0).random
        ends = np.cumsum([offer.family.size for offer in self.classes.offers])
        for offer, own in zip(self.classes.offers, np.split(alike, ends[:-1]), strict=True):
            for labels in [*offer.planes.values(), *(maker.classes for maker in offer.makers)]:
                own += draw() * np.bincount(labels[labels >= 0], minlength=own.size)
        _, firsts, groups = np.unique(alike.round(9), return_index=True, return_inverse=True)
        sizes = [self.without(np.arange(len(self.classes)) == first) for first in firsts]
        parameters = np.array([self.full.parameters - size.parameters for size in sizes], np.int64)
        work = np.array([self.full.macs - size.macs for size in sizes], np.int64)
        return parameters[groups], work[groups]


def shapes_without(offer: Offer, chosen: Mask) -> dict[str, Shape]:
    """The shapes that change when the ``chosen`` classes [classes of the offer, bool] are gone."""
    program = offer.program
    axes = {(name_of(program, site), axis): own for (site, axis), own in offer.planes.items()}
    axes |= {(name_of(program, maker.use), maker.axis): maker.classes for maker in offer.makers}
    found: dict[str, Shape] = {}
    for (name, axis), own in axes.items():
        gone = int(np.count_nonzero(chosen[own[own >= 0]]))
        if gone:
            shape = found.get(name, program.shapes[name])
            found[name] = (*shape[:axis], shape[axis] - gone, *shape[axis + 1 :])
    return found
