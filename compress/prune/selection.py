"""Which classes go first: the weakest, as far as floors, protected tensors and alignment allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from compress.registry import unknown
from graph.candidates.classes import Classes, Offer, Scores
from graph.tracing.trace import name_of
from graph.values import Mask

Block = NDArray[np.int64]


@dataclass(frozen=True)
class Selection:
    """The classes of a model in the order in which they go.

    Attributes:
        classes: of the model.
        scores: one per class; the smallest go first, and infinite ones never.
        floor: fraction of every family that always stays, and one class at least.
        align: what is left of the widths that a family makes are multiples of this, where anything goes.
    """

    classes: Classes
    scores: Scores
    floor: float
    align: int = 1

    @cached_property
    def blocks(self) -> list[Block]:
        """Classes that go together, the weakest first: single ones, or as many of a family as alignment asks for.

        A block is as weak as its classes are on average.
        """
        order = np.argsort(self.scores, kind="stable")
        order = order[self.scores[order] < np.inf]
        found: list[Block] = []
        for number, (size, step) in enumerate(zip(np.bincount(self.classes.family), self._steps(), strict=True)):
            members = order[self.classes.family[order] == number]
            most = min(size - max(1, ceil(self.floor * size)), members.size)
            ends = np.arange(size % step or step, most + 1, step)
            found += np.split(members, ends)[:-1]
        return sorted(found, key=lambda block: (self.scores[block].mean(), block[0]))

    @property
    def most(self) -> int:
        """How many blocks may go."""
        return len(self.blocks)

    def weakest(self, count: int) -> Mask:
        """The classes [classes, bool] of the ``count`` blocks that go first."""
        gone = np.zeros(len(self.classes), np.bool_)
        for block in self.blocks[:count]:
            gone[block] = True
        return gone

    def _steps(self) -> NDArray[np.int64]:
        """Of how many classes of each family a block is: those of attention heads have many channels each."""
        channels, start = np.zeros(len(self.classes), np.int64), 0
        for offer in self.classes.offers:
            own = channels[start : start + offer.family.size]
            for maker in offer.makers:
                own[:] = np.gcd(own, np.bincount(maker.classes[maker.classes >= 0], minlength=own.size))
            start += own.size
        found = np.zeros(self.classes.family.max() + 1, np.int64)
        np.gcd.at(found, self.classes.family, channels)
        return np.asarray(self.align // np.gcd(self.align, found))


def local(scores: Scores, classes: Classes) -> Scores:
    """Ranks within each family, 0 to 1, in place of scores: equal shares of all families then go."""
    ranks = np.full(len(classes), np.inf)
    for number in np.unique(classes.family):
        members = np.flatnonzero((classes.family == number) & (scores < np.inf))
        ranks[members[np.argsort(scores[members], kind="stable")]] = (np.arange(members.size) + 1) / members.size
    return ranks


def protected(classes: Classes, names: Sequence[str]) -> Mask:
    """The classes with a channel in one of the tensors called ``names``.

    Raises:
        UserError: the model has no such tensor; the message names the nearest.
    """
    found = []
    there = {name for offer in classes.offers for name in [*offer.program.constants, *offer.program.shapes]}
    for name in names:
        if name not in there:
            raise unknown("tensor", name, sorted(there))
    for offer in classes.offers:
        own = np.zeros(offer.family.size, np.bool_)
        wanted = _with_copies(offer, names)
        for (site, _), labels in offer.planes.items():
            if name_of(offer.program, site) in wanted:
                own[labels[labels >= 0]] = True
        found.append(own)
    return np.concatenate(found)


def _with_copies(offer: Offer, names: Sequence[str]) -> set[str]:
    """``names``, and the constants that are computed from them, as by a Transpose or DequantizeLinear."""
    wanted = set(names)
    for node in offer.program.nodes:
        if wanted.intersection(node.input) and all(name in offer.program.constants for name in node.output):
            wanted.update(node.output)
    return wanted
