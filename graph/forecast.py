"""How big a model would be without some of its channel classes, by counting alone.

What absorbs or carries constants is not counted, nor are channels that go because others did: `shrink` knows, and takes
a thousand times as long.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from graph.classes import Classes, Offer
from graph.counts import Size, macs, size
from graph.program import Shape
from graph.reads import name_of
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
            shapes = _shapes(offer, own)
            program = offer.program
            weights = [name for name in shapes if name in program.constants]
            parameters -= sum(prod(program.shapes[name]) - prod(shapes[name]) for name in weights)
            alone = replace(program, bodies={})
            work -= macs(alone) - macs(replace(alone, shapes=program.shapes | shapes))
        return Size(parameters, work)


def _shapes(offer: Offer, chosen: Mask) -> dict[str, Shape]:
    """The shapes that change."""
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
