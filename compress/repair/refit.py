"""Weights behind removed channels fitted anew, so that every layer makes again what it made before: no labels needed.

Layer after layer, in the order of the graph: the least-squares fit from what the layer reads in the network that is
repaired so far to what it made in the original one. Its bias takes over the mean of what is gone, and a layer at the
end of a residual branch makes good the error of the whole sum. Sources: channel pruning with reconstruction (He, Zhang
and Sun, ICCV 2017, eq. 1 for fixed channels); the asymmetric form, errors before a layer included (Zhang et al.,
"Accelerating Very Deep Convolutional Networks", PAMI 2016, eq. 5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from compress.progress import Progress, Silent
from compress.repair.fittable import fittable
from compress.repair.layer import Layer, current
from compress.repair.moments import moments
from compress.repair.residual import Residual, residual
from compress.repair.ridge import fitted
from compress.repair.rows import rows
from compress.repair.walk import Walk, pieces, samples
from graph.candidates.classes import Classes, Offer
from graph.model.nodes import bodies, label
from graph.tracing.trace import Use
from graph.values import Mask
from runtime import Settings
from runtime.session import Array, Feeds

RIDGE = 1e-4


@dataclass(frozen=True)
class Repair:
    """A model in which the chosen classes are zero and the others make up for it.

    Attributes:
        model: ready for `graph.shrink`.
        fitted: the nodes that got new weights.
        left: nodes that could not be fitted, and why.
        error: what is left: the squared error of the outputs on the calibration data, relative to their variance.
    """

    model: ModelProto
    fitted: list[str]
    left: dict[str, str]
    error: float


def repair(
    classes: Classes,
    chosen: Mask,
    batches: Sequence[Feeds],
    *,
    ridge: float = RIDGE,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Repair:
    """Zero the ``chosen`` classes, and fit anew the weights of every Conv, Gemm and MatMul that this changes.

    Args:
        classes: of the original model.
        chosen: bool [classes], those that go. Inside If, Loop and Scan they are zeroed, and nothing is fitted.
        batches: calibration data; the activations of two layers or so of all of it are in memory at a time.
        ridge: how much weights hold on to what they were at least, as a fraction of the variance of what they weigh.
        seed: of the places in large activations that a fit looks at.
        settings: how the model is run.
        progress: is told of every layer.

    Raises:
        SessionError: the model does not run on the calibration data.
        UserError: there is a sequence of tensors between two layers.
    """
    offer = classes.offers[0]
    program = offer.program
    own = chosen[: offer.family.size]
    found, left = fittable(program, classes.analysis.trace)
    if chosen[offer.family.size :].any():
        left |= {label(node): "graphs inside it are not fitted" for node in program.nodes if bodies(node)}
    numbered = {layer.index: layer for layer in found}
    values: dict[Use, Array] = dict(offer.zeros(own))
    settings, progress = settings or Settings(), progress or Silent()
    before, after = Walk(program, batches, {}, settings), Walk(program, batches, values, settings)
    counts, done = list(map(samples, batches)), list[str]()
    progress.start(len(found))
    try:
        for indices, stop in pieces(program, list(numbered)):
            before.run(indices)
            after.run(indices)
            if stop is None:
                break
            layer = numbered[stop]
            beside = residual(program, layer.node)
            changed = _differ(before, after, layer.node.input[0]) or (beside and _differ(before, after, beside.other))
            before.run([stop])
            if changed:
                near = layer.matrix(program, values)
                weight, pairs = current(program, values, layer.weight), _pairs(layer, beside, before, after)
                known = layer, weight, pairs, counts, seed
                fit = fitted(rows(*known), near, ridge) if layer.wide else fitted(moments(*known), near, ridge)
                if np.isfinite(fit).all():
                    values.update(layer.store(program, values, np.where(gone(layer, offer, own), near, fit)))
                    done.append(label(layer.node))
                else:
                    left[label(layer.node)] = "activations are not finite on the calibration data"
            after.run([stop])
            progress.update(1)
    finally:
        progress.stop()
    return Repair(classes.zeroed(chosen, values), done, left, output_error(before, after))


def _differ(before: Walk, after: Walk, name: str) -> bool:
    """Whether a tensor that both have by now is not the same in both."""
    pairs = zip(before.tensors, after.tensors, strict=True)
    return any(name in one and name in other and not np.array_equal(one[name], other[name]) for one, other in pairs)


def _pairs(layer: Layer, beside: Residual | None, before: Walk, after: Walk) -> Iterator[tuple[Array, Array]]:
    """Per batch, what the node reads now and what it shall make."""
    read, made = layer.node.input[0], layer.node.output[0]
    for old, new in zip(before.tensors, after.tensors, strict=True):
        target = old[made]
        if beside is not None and beside.other in old and beside.other in new:  # it may come after this node
            target = target - beside.undone(new[beside.other] - old[beside.other], target.shape)
        yield new[read], target


def gone(layer: Layer, offer: Offer, chosen: Mask) -> Mask:
    """Outputs of a node that are of ``chosen`` classes: [groups, 1, outputs of one group]."""
    axis = 1 if layer.conv else len(offer.program.shapes[layer.node.output[0]]) - 1
    own = offer.planes.get((layer.node.output[0], axis), np.full(layer.outputs, -1))
    return np.asarray(((own >= 0) & chosen[own]).reshape(layer.groups, 1, -1))


def output_error(before: Walk, after: Walk) -> float:
    """Mean over the outputs of the squared error of all their elements, relative to their variance over samples."""
    errors = []
    for name in before.program.outputs:
        old, new = (np.concatenate([np.atleast_1d(each[name]) for each in walk.tensors]) for walk in (before, after))
        if old.dtype.kind == "f":
            old = old.astype(np.float64)
            variance = np.square(old - old.mean(0)).sum()  # of a single sample there is none
            errors.append(np.square(new - old).sum() / (variance or np.square(old).sum() or 1.0))
    return float(np.mean(errors)) if errors else 0.0
