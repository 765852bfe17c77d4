"""Criteria from gradients: what scaling a class does to the loss, where the PyTorch module of the model is given.

In the module, every channel that a convolution or a linear layer reads is multiplied with a gate of one. The gradient
of a gate is sum a dL/da over the places of its channel; behind a ReLU that equals sum w dL/dw over the weights that
make the channel, batch normalisation and bias included. What the module reads is found in the model by its moments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compress.errors import UserError
from compress.prune.activations import Seen, seen
from compress.prune.criterion import CRITERIA, Context
from compress.prune.masked import opened
from graph.candidates.classes import Classes, Scores

if TYPE_CHECKING:
    from compress.prune.gates import Gate

TOLERANCE = 1e-3  # of the largest mean square, between PyTorch and ONNX Runtime

Vector = NDArray[np.float64]


@CRITERIA.register("taylor")
def taylor(classes: Classes, context: Context) -> Scores:
    """Squared first-order change of the mean loss: (sum w g)^2 with the mean gradient g over the samples.

    Source: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017, section
    2.2; in this form, over whole filters in evaluation mode, OrthoReg's importance (Lubana et al., arXiv 2009.05014).
    """
    return np.asarray(np.square(_changes(classes, context).mean(0)))


@CRITERIA.register("fisher")
def fisher(classes: Classes, context: Context) -> Scores:
    """Half the mean over the samples of the squared change of each one's loss, the diagonal of the Fisher information.

    Source: Theis et al., Faster gaze prediction with dense networks and Fisher pruning, arXiv 1801.05787, equation 8.
    """
    return np.asarray(np.square(_changes(classes, context)).mean(0) / 2)


def _changes(classes: Classes, context: Context) -> Vector:
    """Derivative of each sample's loss by the scale of each class [samples, classes]; infinite where it is not known.

    Raises:
        UserError: there is no module or no label, or they do not go with the model.
    """
    data, trained = context.calibration, context.trained
    if trained is None or data.labels is None:
        raise UserError("this criterion looks at gradients: give the PyTorch model with --init, and labels with --data")
    width = next(iter(data.answers.values())).shape[1]
    if data.labels.max() >= width and trained.task.spec.task == "classification":
        raise UserError(
            f"there are labels up to {data.labels.max()}, and the model has {width} classes: give its own data"
        )
    from compress.prune.gates import gates  # torch is needed for this criterion only

    model = opened(classes.analysis.program.model, context.settings)
    found = gates(trained, model, data, data.labels, context.progress)
    changes = np.zeros((len(data), len(classes)))
    known, unknown = np.zeros(len(classes), np.bool_), np.zeros(len(classes), np.bool_)
    for each in seen(classes, context):
        read = each.labels >= 0
        place = next((place for place, gate in enumerate(found) if _same(each, gate)), None)
        (unknown if place is None else known)[each.labels[read]] = True
        if place is not None:
            np.add.at(changes.T, each.labels[read], found.pop(place).changes.T[read])
    changes[:, unknown | ~known] = np.inf
    return changes


def _same(each: Seen, gate: Gate) -> bool:
    """Whether a layer of the module reads what a node of the model reads."""
    if each.mean.shape != gate.mean.shape:
        return False
    near = TOLERANCE * float(each.square.max())
    return bool(np.abs(each.square - gate.square).max() <= near and np.abs(each.mean - gate.mean).max() <= near)
