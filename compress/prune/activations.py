"""Criteria that look at activations: what the readers of a class see of it on calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compress.prune.criterion import CRITERIA, Context
from compress.prune.masked import opened
from graph.candidates.classes import Classes, Scores
from graph.candidates.moments import MOMENTS, with_moments
from graph.choosing.weights import weight
from graph.tracing.rules import signature
from graph.tracing.trace import Read, Site, name_of

Vector = NDArray[np.float64]


@CRITERIA.register("activation-mean")
def activation_mean(classes: Classes, context: Context) -> Scores:
    """Mean |x| of the channels where they are read.

    Every layer is divided by its norm, so that layers compare. Source: Molchanov et al., Pruning Convolutional Neural
    Networks for Resource Efficient Inference, ICLR 2017, section 2.2.
    """
    return _averaged(classes, [(each.labels, _unit(each.absolute)) for each in seen(classes, context)])


@CRITERIA.register("activation-variance")
def activation_variance(classes: Classes, context: Context) -> Scores:
    """Standard deviation of the channels where they are read; layers are divided as in `activation_mean`.

    What hardly varies can be replaced by a constant (Molchanov et al., ICLR 2017, section 2.2).
    """
    return _averaged(classes, [(each.labels, _unit(each.deviation)) for each in seen(classes, context)])


@CRITERIA.register("reconstruction")
def reconstruction(classes: Classes, context: Context) -> Scores:
    """Share of their energy that the outputs of the next layers lose, added up over these.

    Channels and places are taken to be uncorrelated, so that a channel's share is its mean square times the squared
    norm of the weights that read it. Layer-wise error as in He et al., Channel Pruning, ICCV 2017, without solving for
    new weights.
    """
    scores, known = np.zeros(len(classes)), np.zeros(len(classes), np.bool_)
    for each in seen(classes, context):
        energy = each.square * each.weights
        _add(scores, each.labels, energy / (energy.sum() or 1))
        known[each.labels[each.labels >= 0]] = True
    return np.where(known, scores, np.inf)


@dataclass(frozen=True)
class Seen:
    """What one reader sees.

    Attributes:
        labels: per channel its class, or -1.
        mean: of the channels, over samples and places.
        absolute: mean absolute value.
        square: mean square.
        weights: squared norm of the weights that read each; ones where these are activations.
    """

    labels: NDArray[np.int64]
    mean: Vector
    absolute: Vector
    square: Vector
    weights: Vector

    @cached_property
    def deviation(self) -> Vector:
        """Standard deviation."""
        return np.sqrt(np.maximum(self.square - np.square(self.mean), 0))


def seen(classes: Classes, context: Context) -> list[Seen]:
    """Everything that reads a class in the model's own graph, with statistics over the calibration data.

    Classes of graphs inside nodes are not seen; their scores are infinite.
    """
    analysis, offer = classes.analysis, classes.offers[0]
    program = analysis.program
    found = [
        (read, site, axis)
        for read in analysis.trace.reads
        for site, axis in (read.left, read.right)
        if site in analysis.trace.ids and (offer.planes.get((site, axis), np.zeros(0)) >= 0).any()
    ]
    axes = list(dict.fromkeys((name_of(program, site), axis) for _, site, axis in found))
    model, names = with_moments(program, axes)
    session = opened(model, context.settings)
    totals = [np.zeros((MOMENTS, program.shapes[tensor][axis])) for tensor, axis in axes]
    context.progress.start(len(context.calibration))
    try:
        for feeds, at in context.calibration:
            outputs, count = session.run(feeds), at.stop - at.start
            for total, each in zip(totals, names, strict=True):
                total += count * np.stack([outputs[name] for name in each])
            context.progress.update(count)
    finally:
        context.progress.stop()
    moments = {axis: total / len(context.calibration) for axis, total in zip(axes, totals, strict=True)}
    seen = []
    for read, site, axis in found:
        mean, absolute, square = moments[name_of(program, site), axis]
        labels, weights = offer.planes[site, axis], _weights(classes, read, site, axis)
        seen.append(Seen(labels, mean, absolute, square, weights))
    return seen


def _weights(classes: Classes, read: Read, site: Site, axis: int) -> Vector:
    """Squared norm of the weights by which a reader sums each channel."""
    program = classes.analysis.program
    node, size = program.nodes[read.node], program.shapes[name_of(program, site)][axis]
    found = signature(program, node)
    constant = None if found is None else weight(program, node, found)
    if constant is None:
        return np.ones(size)
    matrices = constant.matrices(np.square(program.constants[constant.name].astype(np.float64)))
    return np.asarray(matrices.sum((1, *range(3, matrices.ndim))).ravel())


def _unit(values: Vector) -> Vector:
    return values / (np.linalg.norm(values) or 1)


def _averaged(classes: Classes, seen: list[tuple[NDArray[np.int64], Vector]]) -> Scores:
    """Mean over all channels of a class; infinite for a class without any."""
    total, count = np.zeros(len(classes)), np.zeros(len(classes))
    for labels, values in seen:
        _add(total, labels, values)
        _add(count, labels, np.ones(labels.size))
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def _add(total: Vector, labels: NDArray[np.int64], values: Vector) -> None:
    np.add.at(total, labels[labels >= 0], values[labels >= 0])
