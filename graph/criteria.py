"""Which channel classes matter least? One score per class; the smallest go first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graph.classes import Classes, Scores

Criterion = Callable[[Classes, int], Scores]

CRITERIA: dict[str, Criterion] = {}


def criterion(name: str) -> Callable[[Criterion], Criterion]:
    """Decorator that files a function from (classes, seed) to one score per class."""

    def file(function: Criterion) -> Criterion:
        CRITERIA[name] = function
        return function

    return file


@criterion("random")
def random(classes: Classes, seed: int) -> Scores:
    """Chance: the baseline that every other criterion has to beat, and a way to try the compiler on any model."""
    return np.random.default_rng(seed).random(len(classes))


@criterion("l1")
def l1(classes: Classes, seed: int) -> Scores:
    """Mean over its weights of |w| (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017)."""
    return classes.reduce(np.abs) / classes.reduce(np.ones_like)


@criterion("l2")
def l2(classes: Classes, seed: int) -> Scores:
    """Root mean square of its weights."""
    return np.sqrt(classes.reduce(np.square) / classes.reduce(np.ones_like))
