"""Do two ONNX files agree, on random inputs and on real ones?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from runtime import (
    PairedAccuracy,
    Parity,
    Session,
    Settings,
    compare,
    open_session,
    paired_accuracy,
    random_feeds,
    real_feeds,
)
from runtime.accuracy import LabelledBatch
from runtime.session import Feeds

SEEDS = 8
BATCH, REAL_BATCHES = 64, 4  # images at a time, and how many batches of them agreement is measured on


@dataclass(frozen=True, order=True)
class Noise:
    """How far two exact forms of one model may be apart: max|d| <= atol + rtol max|y|, over all inputs.

    Sums in another order round otherwise, and outputs near zero inherit the absolute error of the large terms
    that cancelled in them, hence ``atol``. A wrongly removed channel differs by far more.
    """

    rtol: float
    atol: float


# Measured on ResNet-20, VGG-19 and DenseNet-40 with half their channels absorbed: 5e-7 of the largest output
# in float32; in float16 8e-4, one unit in the last place, and 2e-4 where inputs and outputs are float32.
SINGLE, HALF = Noise(1e-4, 1e-6), Noise(1e-2, 1e-3)


def float_noise(model: ModelProto) -> Noise:
    """The noise of the coarsest type that ``model`` computes with; its weights need not be loaded."""
    graph = model.graph
    types = {tensor.data_type for tensor in graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    return HALF if types & {TensorProto.FLOAT16, TensorProto.BFLOAT16} else SINGLE


@dataclass(frozen=True)
class Verified:
    """The agreement, the noise that exact forms may show, and the accuracy of both where there was data."""

    parity: Parity
    noise: Noise
    accuracy: PairedAccuracy | None


def inputs(session: Session, real: Iterable[LabelledBatch] | None = None) -> Iterator[Feeds]:
    """Random feeds of several seeds, in three batch sizes where the batch is open; then real images."""
    for seed in range(SEEDS):
        yield random_feeds(session, seed=seed, batch=1 + seed % 3)
    if real is not None:
        images = (images for images, _ in islice(real, REAL_BATCHES))
        yield from (feeds for feeds, _ in real_feeds(session, images))


def verify_files(
    model: Path,
    against: Path,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    provider: str = "cpu",
) -> Verified:
    """Run both models on random inputs and on the test images of ``data``.

    Raises:
        SessionError: a model cannot be opened or run, or the two have different inputs or outputs.
        UserError: the data set is not there.
    """
    settings = Settings(provider=provider)
    candidate, reference = open_session(model, settings), open_session(against, settings)
    noise = max(float_noise(onnx.load(path, load_external_data=False)) for path in (model, against))
    if data is None:
        return Verified(compare(reference, candidate, inputs(reference)), noise, None)
    from compress.data import load  # pillow and the rest are needed for data only

    found = load(data, data_dir)
    parity = compare(reference, candidate, inputs(reference, found.test.batches(BATCH, found.spec)))
    accuracy = paired_accuracy(reference, candidate, found.test.batches(BATCH, found.spec))
    return Verified(parity, noise, accuracy)


def accuracy_figures(result: PairedAccuracy) -> dict[str, float]:
    """Accuracies in percent, and what McNemar's test says of their difference."""
    return {
        "images": result.reference.total,
        "reference": result.reference.percent,
        "candidate": result.candidate.percent,
        "drop": result.drop,
        "lost": result.lost,
        "gained": result.gained,
        "p_value": result.p_value,
    }
