"""What the outputs lose without a class, if the weights behind it are fitted anew: a criterion without labels.

Two factors. Within a family of classes, what leaving one out adds to the squared error of the sums that read it
(`elimination`). Between families, how much of such an error arrives at the outputs: measured once per family, with half
of it gone, or as much as is felt. Redundant channels cost nothing, since the others stand in for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.progress import Progress, Silent
from compress.repair.elimination import Elimination, Numbers, Sum, eliminate
from compress.repair.fittable import fittable
from compress.repair.layer import Layer, current
from compress.repair.moments import Moments, moments
from compress.repair.refit import RIDGE, gone, output_error
from compress.repair.walk import Walk, pieces, samples
from graph.candidates.classes import Classes, Offer, Scores
from graph.choosing.weights import weight
from graph.tracing.rules import signature
from graph.tracing.trace import Use
from runtime import Settings
from runtime.session import Array, Feeds

MEASURED = 128  # samples, at least, for what arrives at the outputs


def importance(
    classes: Classes,
    batches: Sequence[Feeds],
    *,
    ridge: float = RIDGE,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Squared error of the outputs, relative to their variance, that every class adds when its turn has come.

    Its turn is after all the classes of its family that cost less. A class that no Conv, Gemm or MatMul with a constant
    weight sums over costs infinity: nothing could stand in for it. So does one that only layers sum over which read
    more than 8,192 features.

    Args:
        classes: of a model.
        batches: calibration data; the activations of two layers or so of all of it are in memory at a time.
        ridge: as in `repair`.
        seed: of the places in large activations that are looked at.
        settings: how the model is run.
        progress: is told of every layer and every family.

    Raises:
        SessionError: the model does not run on the calibration data.
        UserError: there is a sequence of tensors between two layers.
    """
    settings, progress = settings or Settings(), progress or Silent()
    offer = classes.offers[0]
    scores = np.full(len(classes), np.inf)
    summing = _summing(classes, offer)
    families = np.unique(offer.family)
    progress.start(len(summing) + families.size)
    try:
        known = _moments(offer, [layer for layer, _ in summing], batches, seed, settings, progress)
        few = _few(batches)
        plain = Walk(offer.program, few, {}, settings)
        plain.run(range(len(offer.program.nodes)))
        for family in families:
            members = np.flatnonzero(offer.family == family)
            reading = [(layer, own) for layer, own in summing if np.isin(members, own).any()]
            progress.update(1)
            if not reading:
                continue
            found = eliminate(_sums(offer, reading, known, members, ridge), members, offer.family.size)
            walk = Walk(offer.program, few, _without_half(offer, [layer for layer, _ in reading], found), settings)
            walk.run(range(len(offer.program.nodes)))
            scores[found.order] = found.costs * output_error(plain, walk) / max(found.error, np.finfo(float).tiny)
    finally:
        progress.stop()
    return scores


def _summing(classes: Classes, offer: Offer) -> list[tuple[Layer, Numbers]]:
    """Nodes that sum over classes, with the class of every feature [groups, features], -1 for none."""
    program = offer.program
    found = []
    for layer in fittable(program, classes.analysis.trace)[0]:
        rule = signature(program, layer.node)
        if layer.wide or rule is None or weight(program, layer.node, rule) is None:
            continue  # one filter per channel is no sum over channels
        axis = 1 if layer.conv else len(program.shapes[layer.node.input[0]]) - 1
        for site in ((layer.index, 0), layer.node.input[0]):
            if (site, axis) in offer.planes:
                own = offer.planes[site, axis]
                taps = layer.features * layer.groups // own.size
                found.append((layer, np.repeat(own, taps).reshape(layer.groups, -1)))
                break
    return found


def _moments(
    offer: Offer, wanted: Sequence[Layer], batches: Sequence[Feeds], seed: int, settings: Settings, progress: Progress
) -> dict[int, Moments]:
    """Of the original model, by index of the node."""
    program = offer.program
    numbered = {layer.index: layer for layer in wanted}
    walk, found = Walk(program, batches, {}, settings), {}
    for indices, stop in pieces(program, list(numbered)):
        walk.run(indices)
        if stop is not None:
            layer = numbered[stop]
            read = [tensors[layer.node.input[0]] for tensors in walk.tensors]
            walk.run([stop])
            made = [tensors[layer.node.output[0]] for tensors in walk.tensors]
            pairs, sizes = zip(read, made, strict=True), list(map(samples, batches))
            first, second = moments(layer, current(program, {}, layer.weight), pairs, sizes, seed)
            found[stop] = first + second
            progress.update(1)
    return found


def _sums(
    offer: Offer, reading: Sequence[tuple[Layer, Numbers]], known: dict[int, Moments], members: Numbers, ridge: float
) -> list[Sum]:
    """Every group of every node that sums over ``members``."""
    found = []
    for layer, own in reading:
        matrix, each = layer.matrix(offer.program, {}), known[layer.index]
        energy = max(each.energy, np.finfo(float).tiny)
        own = np.where(np.isin(own, members), own, -1)
        groups = zip(matrix, each.damped(ridge), own, strict=True)
        found += [Sum.of(weights, inputs, energy, row) for weights, inputs, row in groups]
    return found


def _without_half(offer: Offer, reading: Sequence[Layer], found: Elimination) -> dict[Use, Array]:
    """Constants of the graph without half of a family, for which the nodes that read it make up."""
    half = np.zeros(offer.family.size, np.bool_)
    half[found.half] = True
    values = dict(offer.zeros(half))
    weights = iter(found.weights)
    for layer in reading:
        matrix = np.stack([next(weights) for _ in range(layer.groups)])
        near = layer.matrix(offer.program, values)
        values.update(layer.store(offer.program, values, np.where(gone(layer, offer, half), near, matrix)))
    return values


def _few(batches: Sequence[Feeds]) -> list[Feeds]:
    """The first batches, with samples enough."""
    few: list[Feeds] = []
    count = 0
    for feeds in batches:
        if count < MEASURED:
            few.append(feeds)
            count += samples(feeds)
    return few
