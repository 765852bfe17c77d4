"""Families of channel classes, as a person is told of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graph.candidates.classes import Classes
from graph.values import Mask


@dataclass(frozen=True)
class Family:
    """Classes that the same constants make.

    Attributes:
        tensors: these constants, as ``name[axis]``.
        classes: how many there are.
        zeroed: of them.
    """

    tensors: list[str]
    classes: int
    zeroed: int


def families(offered: Classes, gone: Mask) -> list[Family]:
    """All of a model, in the order of the network, without the ``gone`` classes [classes, bool]."""
    sizes = np.bincount(offered.family)
    zeroed = np.bincount(offered.family[gone], minlength=sizes.size)
    return [Family(*each) for each in zip(makers(offered), sizes.tolist(), zeroed.tolist(), strict=True)]


def makers(offered: Classes) -> list[list[str]]:
    """Per family the constants that make it, as ``name[axis]``."""
    return [list(dict.fromkeys(names)) for offer in offered.offers for names in offer.tensors()]
