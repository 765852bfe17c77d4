"""Do two ONNX files agree, on random inputs and on real ones?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, TensorProto

from compress import reference as references
from compress.errors import UserError
from compress.inputs import read_inputs
from compress.registry import unknown
from runtime import (
    Differences,
    PairedAccuracy,
    Parity,
    Session,
    Settings,
    Task,
    Tolerance,
    environment,
    named_task,
    open_session,
    paired_accuracy,
    random_cases,
    real_feeds,
)
from runtime.accuracy import LabelledBatch
from runtime.session import Array, Feeds, check_free_dims

BATCH, REAL_BATCHES = 64, 4  # images at a time, and how many batches of them stand for the data

# Sums in another order round otherwise, and outputs near zero inherit the absolute error of the large terms that
# cancelled in them, hence the absolute part. A wrongly removed channel differs by far more. Measured on ResNet-20,
# VGG-19 and DenseNet-40 with half their channels absorbed: 5e-7 of the largest output in float32; in float16 8e-4,
# one unit in the last place, and 2e-4 where inputs and outputs are float32.
SINGLE, HALF = Tolerance(1e-4, 1e-6), Tolerance(1e-2, 1e-3)


def float_noise(model: ModelProto) -> Tolerance:
    """How far two exact forms of ``model`` may be apart, by the coarsest type it computes with.

    Its weights need not be loaded.
    """
    graph = model.graph
    types = {tensor.data_type for tensor in graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    return HALF if types & {TensorProto.FLOAT16, TensorProto.BFLOAT16} else SINGLE


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        parity: the agreement.
        noise: that exact forms may show.
        accuracy: of both, where there was data.
        worst: the inputs on which they differ the most.
        sessions: how each ran, and on what machine.
    """

    parity: Parity
    noise: Tolerance
    accuracy: PairedAccuracy | None
    worst: Feeds
    sessions: Mapping[str, Any]


def inputs(session: Session, real: Iterable[LabelledBatch] | None = None) -> Iterator[Feeds]:
    """Random feeds of several seeds and shapes; then real images."""
    yield from random_cases(session)
    if real is not None:
        images = (images for images, _ in islice(real, REAL_BATCHES))
        yield from (feeds for feeds, _ in real_feeds(session, images))


def verify_files(
    model: Path,
    against: Path,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    judge: str | None = None,
    dims: Mapping[str, int] | None = None,
    given: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Verified:
    """Run both models on random inputs and on the test set of ``data``.

    Args:
        model: the candidate.
        against: the reference.
        data: name of the data set, whose test images both models see once, for agreement and for accuracy.
        data_dir: where it lies.
        judge: what the labels say: ``classification``, ``segmentation`` or ``module:callable``; the data knows if None.
        dims: sizes of dynamic axes by name, for random inputs.
        given: inputs that are not random, by name: a number, or an .npy or .npz file.
        settings: how both are run; TF32 is off if None.

    Raises:
        SessionError: a model cannot be opened or run, or the two have different inputs or outputs.
        UserError: the data set is not there, or ``judge`` fails.
    """
    settings = settings or Settings(tf32=False)
    check_free_dims(model, settings)
    candidate, reference = open_session(model, settings), open_session(against, settings)
    noise = max(float_noise(onnx.load(path, load_external_data=False)) for path in (model, against))
    differences = Differences(reference, candidate)
    for feeds in random_cases(differences.common, dims=dims, given=read_inputs(reference, given or {})):
        differences.run(feeds)
    accuracy = None
    if data is not None:
        from compress.data import load  # pillow and the rest are needed for data only

        found = load(data, data_dir)
        accuracy = paired_accuracy(
            differences, found.test.batches(BATCH, found.spec), find_task(judge or found.spec.task, found.spec.classes)
        )
    sessions = {"candidate": candidate.describe(), "reference": reference.describe(), "environment": environment()}
    return Verified(differences.parity, noise, accuracy, differences.tally.worst, sessions)


def find_task(name: str, classes: int | None = None) -> Task:
    """A task by name, or ``module:callable``: of the outputs by name and the labels, to one score per sample.

    Raises:
        SessionError: there is no task of this name.
        UserError: there is no such callable; or later, it fails.
    """
    if ":" not in name:
        return named_task(name, classes)
    function = references.locate(name)

    def score(outputs: Mapping[str, Array], labels: Any) -> Any:
        try:
            return function(outputs, labels)
        except Exception as error:
            raise UserError(f"'{name}' failed: {references.describe(error)}") from error

    return Task(name.rpartition(":")[2], score)


def tolerances(
    verified: Verified, rtol: float | None, atol: float | None, special: Mapping[str, str]
) -> tuple[Tolerance, dict[str, Tolerance]]:
    """What is allowed of all outputs, and of those in ``special``, written ``RTOL,ATOL``.

    Raises:
        UserError: a tolerance is no pair of numbers, or there is no such output.
    """
    noise = verified.noise
    allowed = Tolerance(noise.rtol if rtol is None else rtol, noise.atol if atol is None else atol)
    names = [output.name for output in verified.parity.outputs]
    found = {}
    for name, text in special.items():
        if name not in names:
            raise unknown("output", name, names)
        try:
            relative, absolute = map(float, text.split(","))
        except ValueError:
            relative = absolute = math.nan
        if not (0 <= relative < math.inf and 0 <= absolute < math.inf):
            raise UserError(f"--tolerance {name}={text}: give RTOL,ATOL, such as 1e-3,1e-6")
        found[name] = Tolerance(relative, absolute)
    return allowed, found


def accuracy_figures(result: PairedAccuracy) -> dict[str, Any]:
    """Accuracies in percent, and what McNemar's test says of their difference."""
    return {
        "metric": result.reference.metric,
        "images": result.reference.total,
        "reference": result.reference.percent,
        "candidate": result.candidate.percent,
        "drop": result.drop,
        "lost": result.lost,
        "gained": result.gained,
        "p_value": result.p_value,
        "figures": {"reference": dict(result.reference.figures), "candidate": dict(result.candidate.figures)},
    }
