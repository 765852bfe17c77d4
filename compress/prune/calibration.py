"""What a criterion measures on: samples that the model has been fed with, and what it answered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compress.errors import UserError
from compress.inputs import read_inputs
from runtime import Session, random_feeds, real_feeds
from runtime.session import Array, Feeds

BATCH = 64  # samples at a time, where a model takes any number

Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class Calibration:
    """Samples in the batches that the model takes.

    Attributes:
        batches: the feeds.
        rows: how many samples of each count; what fills up a fixed batch does not.
        answers: outputs of the model before anything was pruned, by name, [samples, ...].
        labels: of the samples, where they are known.
    """

    batches: list[Feeds]
    rows: list[int]
    answers: Outputs
    labels: Array | None = None

    def __len__(self) -> int:
        return sum(self.rows)

    def __iter__(self) -> Iterator[tuple[Feeds, slice]]:
        """Every batch, with the place of its samples among all."""
        start = 0
        for feeds, count in zip(self.batches, self.rows, strict=True):
            yield feeds, slice(start, start + count)
            start += count

    @property
    def divisible(self) -> bool:
        """Whether all that is fed has a row for every sample, or is a number: states may have samples elsewhere."""
        batches = zip(self.batches, self.rows, strict=True)
        return all(not array.ndim or len(array) == count for feeds, count in batches for array in feeds.values())

    def subset(self, chosen: NDArray[np.bool_]) -> Calibration:
        """The ``chosen`` samples [samples] of those that are `divisible`, of a model that takes any number of them."""
        batches: list[Feeds] = []
        rows: list[int] = []
        for feeds, at in self:
            own = chosen[at]
            if own.any():
                batches.append({name: array[own] if array.ndim else array for name, array in feeds.items()})
                rows.append(int(own.sum()))
        answers = {name: array[chosen] for name, array in self.answers.items()}
        return Calibration(batches, rows, answers, None if self.labels is None else self.labels[chosen])

    def digest(self) -> str:
        """SHA-256 of what is fed."""
        content = hashlib.sha256(repr(self.rows).encode())
        for feeds in self.batches:
            for name in sorted(feeds):
                content.update(f"{name}{feeds[name].shape}{feeds[name].dtype}".encode())
                content.update(np.ascontiguousarray(feeds[name]).tobytes())
        return content.hexdigest()


def images(session: Session, name: str, folder: Path | None, count: int, seed: int) -> Calibration:
    """``count`` random training images of a data set, as they are tested: never test images.

    Raises:
        SessionError: the model does not take them.
        UserError: the data set is not there.
    """
    from compress.data import load  # pillow and the rest are needed for data only

    data = load(name, folder)
    chosen = np.random.default_rng(seed).permutation(len(data.train))[:count]
    batches = list(data.train.subset(np.sort(chosen)).batches(BATCH, data.spec))
    feeds = real_feeds(session, (each for each, _ in batches))
    return _answered(session, feeds, np.concatenate([labels for _, labels in batches]))


def arrays(session: Session, given: Mapping[str, str], count: int) -> Calibration:
    """Samples from files: every input by name as a number, an .npy or an .npz, with the samples along the first axis.

    Raises:
        SessionError: the arrays do not fit the inputs, or the model does not run on them.
        UserError: a file cannot be read, or an input is missing; or there are not equally many samples of each.
    """
    return fed(session, read_inputs(session, given), count)


def fed(session: Session, found: Mapping[str, Array], count: int) -> Calibration:
    """As `arrays`, from memory."""
    if missing := [value.name for value in session.inputs if value.name not in found]:
        raise UserError(f"{session.name} has the input '{missing[0]}', too: give it with --input {missing[0]}=FILE")
    whole = {name: array for name, array in found.items() if array.ndim}
    lengths = {name: len(array) for name, array in whole.items()}
    if not lengths or min(lengths.values()) != max(lengths.values()) or not min(lengths.values()):
        told = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
        raise UserError(f"calibration data: give as many samples of every input, along its first axis, not {told}")
    shape = next((value.shape for value in session.inputs if value.name in whole), ())
    size = shape[0] if len(shape) > 1 and isinstance(shape[0], int) else None
    total = min(count, *lengths.values())
    step = size or BATCH
    batches = []
    for start in range(0, total, step):
        parts = {name: array[start : min(start + step, total)] for name, array in whole.items()}
        if size:
            parts = {name: np.concatenate([part, *[part[-1:]] * (size - len(part))]) for name, part in parts.items()}
        feeds = random_feeds(session, given={**found, **parts})  # where nothing is random: numbers fill their inputs
        batches.append(({name: feeds[name] for name in {**parts, **feeds}}, min(step, total - start)))
    return _answered(session, batches)


def _answered(session: Session, feeds: Iterable[tuple[Feeds, int]], labels: Array | None = None) -> Calibration:
    batches: list[Feeds] = []
    rows: list[int] = []
    parts: list[Outputs] = []
    for feed, count in feeds:
        _check_finite(feed, sum(rows))
        batches.append(feed)
        rows.append(count)
        parts.append(by_sample(session.run(feed), feed, count))
    if not batches:
        raise UserError("there is no calibration data")
    answers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, array in answers.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"{session.name} answers with NaN or infinities at '{name}': scores would mean nothing")
    return Calibration(batches, rows, answers, labels)


def by_sample(outputs: Outputs, feeds: Feeds, count: int) -> dict[str, Array]:
    """Outputs with one row per sample, of the first ``count`` of a batch; those that have none are left out.

    The first input says how large the batch is: others, such as states, may have other first axes.
    """
    size = next((len(array) for array in feeds.values() if array.ndim), 1)
    found = {}
    for name, array in outputs.items():
        if array.ndim and len(array) == size:
            found[name] = array[:count]
        elif size == 1:
            found[name] = array[None]
    return found


def _check_finite(feeds: Feeds, start: int) -> None:
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            rows = np.isfinite(array.reshape(len(array), -1)).all(1) if array.ndim else np.zeros(1, np.bool_)
            first = start + int(np.flatnonzero(~rows)[0])
            raise UserError(f"calibration data: sample {first} of '{name}' has NaN or infinities")
