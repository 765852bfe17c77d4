"""Do two ONNX files agree, on random inputs and on a test set?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime import PairedAccuracy, Parity, Session, Settings, compare, open_session, paired_accuracy, random_feeds
from runtime.session import Feeds

SEEDS = 8
BATCH = 100


@dataclass(frozen=True)
class Verified:
    """The agreement, and the accuracy of both where there was data."""

    parity: Parity
    accuracy: PairedAccuracy | None


def random_inputs(session: Session, seeds: int = SEEDS) -> Iterator[Feeds]:
    """Random feeds of several seeds, and of two batch sizes where the batch is open."""
    for seed in range(seeds):
        yield random_feeds(session, seed=seed, batch=1 + seed % 3)


def verify_files(
    model: Path, against: Path, *, data: str | None = None, data_dir: Path | None = None, provider: str = "cpu"
) -> Verified:
    """Run both models on random inputs and on the test images of ``data``.

    Raises:
        SessionError: a model cannot be opened or run, or the two have different inputs or outputs.
        UserError: the data set is not there.
    """
    settings = Settings(provider=provider)
    candidate, reference = open_session(model, settings), open_session(against, settings)
    parity = compare(reference, candidate, random_inputs(reference))
    if data is None:
        return Verified(parity, None)
    from compress.data import load

    found = load(data, data_dir)
    return Verified(parity, paired_accuracy(reference, candidate, found.test.batches(BATCH, found.spec)))


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
