"""Which classes go first: the weakest, as far as floors, protected tensors and alignment allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.registry import unknown
from graph.classes import Classes, Offer, Scores
from graph.reads import name_of
from graph.values import Mask


@dataclass(frozen=True)
class Selection:
    """The classes of a model in the order in which they go.

    Attributes:
        classes: of the model.
        scores: one per class; the smallest go first, and infinite ones never.
        floor: fraction of every family that always stays.
        align: numbers of classes that stay of a family are multiples of this, or all of them.
    """

    classes: Classes
    scores: Scores
    floor: float
    align: int = 1

    @property
    def most(self) -> int:
        """How many may go, before alignment."""
        return int((self.classes.weakest(self.scores, len(self.classes), self.floor) & (self.scores < np.inf)).sum())

    def weakest(self, count: int) -> Mask:
        """The ``count`` classes that go first, without those that alignment keeps."""
        gone = self.classes.weakest(self.scores, min(count, self.most), self.floor)
        return gone if self.align == 1 else self.aligned(gone)

    def aligned(self, gone: Mask) -> Mask:
        """``gone`` without the strongest of every family, so that multiples of ``align`` stay."""
        gone = gone.copy()
        strongest = np.argsort(-self.scores, kind="stable")
        for number in np.unique(self.classes.family[gone]):
            members = strongest[self.classes.family[strongest] == number]
            kept = int((~gone[members]).sum())
            gone[members[gone[members]][: -kept % self.align]] = False
        return gone


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
