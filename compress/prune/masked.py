"""What a model answers with some of its channel classes at zero, for many choices of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

import graph
from compress.prune.calibration import Calibration, Outputs, by_sample
from graph.candidates.classes import Classes
from graph.candidates.halves import Halves, halve
from graph.values import Mask
from runtime import Session, Settings, open_session
from runtime.session import Array, Feeds

Rows = NDArray[np.int64]
#: From outputs [n, ...] for the samples of these numbers [n] to one figure each [n].
Measure = Callable[[Outputs, Rows], NDArray[np.float64]]

ELEMENTS = 2**20  # of the boundary in one run: what a core's cache holds of a few layers
FEWEST, MOST = 8, 256  # rows of one run
ROOM = 2**28  # bytes of activations that are kept
TOLERANCE = 1e-3  # of an output whose row stood among others


Pairs = tuple[Rows, Rows, Outputs]  # numbers of choices [n] and of samples [n], and the outputs [n, ...] for them


def opened(model: ModelProto, settings: Settings) -> Session:
    """A session of a model in memory, of any size."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        graph.save(model, path)
        return open_session(path, settings)


class MaskedModel:
    """A model whose classes can be made zero, one choice of them after the other.

    Args:
        classes: of the model.
        calibration: the samples that it is run on.
        settings: how.
    """

    def __init__(self, classes: Classes, calibration: Calibration, settings: Settings) -> None:
        self.classes, self.calibration, self.settings = classes, calibration, settings
        self.whole = opened(classes.analysis.program.model, self.settings)
        self.plain = [by_sample(self.whole.run(feeds), feeds, at.stop - at.start) for feeds, at in calibration]
        self.latest: tuple[Mask, _Cut | None] | None = None
        self.mixes: bool | None = None  # samples of a batch see each other; None until that was tried

    def means(self, choices: Mask, measures: Sequence[Measure], members: Mask | None = None) -> NDArray[np.float64]:
        """Mean over all samples of every measure [measures, choices] with classes at zero.

        Args:
            choices: which are, [choices, classes].
            measures: of the answers.
            members: all that may be [classes], where more choices among them will follow.

        Raises:
            SessionError: ONNX Runtime cannot run the model in parts.
        """
        totals = np.zeros((len(measures), len(choices)))
        cut = self.cut(np.asarray(choices.any(0)) if members is None else members)
        parts = self.one_by_one(choices) if cut is None else self.in_halves(cut, choices)
        for places, rows, outputs in parts:
            for total, measure in zip(totals, measures, strict=True):
                np.add.at(total, places, measure(outputs, rows))
        return totals / len(self.calibration)

    def cut(self, members: Mask) -> _Cut | None:
        """The model in halves, with masks for ``members`` [classes, bool]; the latest is kept."""
        if self.latest is None or not np.array_equal(self.latest[0], members):
            halves = halve(self.classes, members)
            self.latest = members, None if halves is None else self.halved(halves)
        return self.latest[1]

    def halved(self, halves: Halves) -> _Cut:
        """Both halves, opened."""
        model = halves.head()
        head = None if model is None else opened(model, self.settings)
        values = [*self.whole.inputs, *(head.outputs if head else ())]
        tail = halves.tail({value.name: value.dtype for value in values})
        return _Cut(halves, head, opened(tail, self.settings))

    def one_by_one(self, choices: Mask) -> Iterator[Pairs]:
        """A model of its own for every choice."""
        for place, gone in enumerate(choices):
            session = opened(self.classes.zeroed(gone), self.settings)
            for feeds, at in self.calibration:
                rows = np.arange(at.start, at.stop)
                yield np.full_like(rows, place), rows, by_sample(session.run(feeds), feeds, rows.size)

    def in_halves(self, cut: _Cut, choices: Mask) -> Iterator[Pairs]:
        """What no mask reaches is computed once; a sample on which a choice changes nothing is not run again."""
        for number, (feeds, at) in enumerate(self.calibration):
            plain, boundary = self.plain[number], cut.boundary(number, feeds)
            count = at.stop - at.start
            if self.mixes is None and cut.halves.shared:
                self.mixes = cut.mixes(boundary, choices, count)
            if cut.halves.shared and not self.mixes:
                live = cut.live(boundary, choices, count)
                for places, rows in _packs(live, _run_size(boundary, cut.halves.rows)):
                    yield places, rows + at.start, _pick(plain, rows) | cut.run(boundary, choices[places], rows)
                places, rows = np.nonzero(~live)
                if places.size:
                    yield places, rows + at.start, _pick(plain, rows)
            else:
                rows = np.arange(count)
                for place, gone in enumerate(choices):
                    outputs = by_sample(cut.run(boundary, gone[None]), feeds, count)
                    yield np.full_like(rows, place), rows + at.start, plain | outputs


@dataclass(frozen=True)
class _Cut:
    """A model in halves, open."""

    halves: Halves
    head: Session | None
    tail: Session
    kept: dict[int, Feeds] = field(default_factory=dict)

    def boundary(self, number: int, feeds: Feeds) -> Feeds:
        """What the tail reads for the batch of this number; kept if there is room."""
        if number in self.kept:
            return self.kept[number]
        found = dict(feeds)
        if self.head is not None:
            found |= self.head.run({value.name: feeds[value.name] for value in self.head.inputs})
        boundary = {name: found[name] for name in self.halves.boundary}
        if sum(array.nbytes for each in [*self.kept.values(), boundary] for array in each.values()) <= ROOM:
            self.kept[number] = boundary
        return boundary

    def run(self, boundary: Feeds, gone: Mask, rows: Rows | None = None) -> dict[str, Array]:
        """Outputs with classes at zero: one choice [1, classes] for all, or one [n, classes] for each of ``rows``."""
        if rows is not None:
            boundary = {name: array[rows] if name in self.halves.rows else array for name, array in boundary.items()}
        return self.tail.run({**boundary, **{place.name: place.mask(gone) for place in self.halves.places}})

    def live(self, boundary: Feeds, choices: Mask, count: int) -> Mask:
        """Where a choice takes anything from a sample that is not zero as it is: [choices, samples]."""
        if not self.halves.exposed:
            return np.ones((len(choices), count), np.bool_)
        found = np.zeros((len(choices), count), np.bool_)
        for place in self.halves.places:
            array = np.moveaxis(boundary[place.tensor][:count], place.axis, 1)
            active = (array != 0).any(tuple(range(2, array.ndim)))
            gone = choices[:, place.classes] & (place.classes >= 0)
            found |= gone.astype(np.float32) @ active.T.astype(np.float32) > 0
        return found

    def mixes(self, boundary: Feeds, choices: Mask, count: int) -> bool:
        """Whether the first and the last sample with two choices come out otherwise than each alone."""
        gone, rows = choices[[0, -1]], np.array([0, count - 1])
        both = self.run(boundary, gone, rows)
        for place in range(2):
            alone = self.run(boundary, gone[place : place + 1], rows[place : place + 1])
            for name, array in alone.items():
                if array.shape[:1] != (1,) or both[name].shape[:1] != (2,):
                    return True
                if np.abs(both[name][place] - array[0]).max(initial=0) > TOLERANCE * np.abs(array).max(initial=0):
                    return True
        return False


def _pick(outputs: Outputs, rows: Rows) -> dict[str, Array]:
    return {name: array[rows] for name, array in outputs.items()}


def _packs(live: Mask, size: int) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of a choice and a sample, at most ``size`` at a time."""
    places, rows = np.nonzero(live)
    for start in range(0, places.size, size):
        yield places[start : start + size], rows[start : start + size]


def _run_size(boundary: Feeds, rows: Sequence[str]) -> int:
    """How many rows one run takes."""
    elements = sum(boundary[name][0].size for name in rows)
    return int(np.clip(ELEMENTS // max(elements, 1), FEWEST, MOST))
