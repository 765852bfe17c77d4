"""Criteria that need nothing but the model: its weights, or a die."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from compress.errors import UserError
from compress.prune.criterion import CRITERIA, Context
from graph.candidates.classes import Classes, Offer, Scores
from graph.candidates.masks import alike
from graph.model.nodes import key
from graph.tracing.trace import name_of


@CRITERIA.register("random")
def random(classes: Classes, context: Context) -> Scores:
    """Chance: the baseline that every other criterion has to beat, and a way to try the compiler on any model."""
    return np.random.default_rng(context.seed).random(len(classes))


@CRITERIA.register("l1")
def l1(classes: Classes, context: Context) -> Scores:
    """Mean over its weights of |w| (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017)."""
    return classes.reduce(np.abs) / classes.reduce(np.ones_like)


@CRITERIA.register("l2")
def l2(classes: Classes, context: Context) -> Scores:
    """Root mean square of its weights."""
    return np.sqrt(classes.reduce(np.square) / classes.reduce(np.ones_like))


@CRITERIA.register("geometric-median")
def geometric_median(classes: Classes, context: Context) -> Scores:
    """Mean distance to the other classes that the same constants make: who is near all of them can be replaced.

    Distances are root mean squares over weights, so that wide and narrow layers compare. Where there is no other
    class, the score is infinite. Source: He et al., Filter Pruning via Geometric Median (FPGM), CVPR 2019, equation 5.
    """
    scores = np.full(len(classes), np.inf)
    starts = np.cumsum([0, *(offer.family.size for offer in classes.offers)])
    for group in map(np.flatnonzero, alike(classes)):
        place = int(np.searchsorted(starts, group[0], side="right")) - 1
        if group.size > 1:
            vectors = _vectors(classes.offers[place], group - starts[place])
            distances = cdist(vectors, vectors).sum(1) / (group.size - 1)
            scores[group] = distances / np.sqrt(vectors.shape[1])
    return scores


def _vectors(offer: Offer, group: NDArray[np.int64]) -> NDArray[np.float64]:
    """The weights that make each class of a group of alike ones, [classes, weights]."""
    parts = []
    for maker in offer.makers:
        rows = np.flatnonzero(np.isin(maker.classes, group))
        if rows.size:
            rows = rows[np.argsort(maker.classes[rows], kind="stable")]
            array = np.moveaxis(offer.program.constants[name_of(offer.program, maker.use)], maker.axis, 0)
            parts.append(array[rows].reshape(group.size, -1).astype(np.float64))
    return np.concatenate(parts, axis=1)


@CRITERIA.register("bn-scale")
def bn_scale(classes: Classes, context: Context) -> Scores:
    """Mean |gamma| of the BatchNormalizations that make the class (Liu et al., Network Slimming, ICCV 2017).

    A class that none makes stays: its score is infinite.

    Raises:
        UserError: no class has one; exporters fold BatchNormalization into the convolution before it.
    """
    only = replace(classes, offers=[_scales(offer) for offer in classes.offers])
    counts = only.reduce(np.ones_like)
    if not counts.any():
        raise UserError(
            "no channel class has the scale of a BatchNormalization, which exporters fold into convolutions: "
            "take another criterion, such as l2"
        )
    return np.where(counts > 0, only.reduce(np.abs) / np.maximum(counts, 1), np.inf)


def _scales(offer: Offer) -> Offer:
    """The same with the scales of BatchNormalizations as only makers."""
    nodes = offer.program.nodes
    makers = [each for each in offer.makers if each.use[1] == 1 and key(nodes[each.use[0]]) == "BatchNormalization"]
    return replace(offer, makers=makers)
