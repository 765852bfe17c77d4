"""How long a model takes from nothing to its first answer: a fresh process every time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bench import comparison_figures
from runtime.environment import environment
from runtime.errors import SessionError
from runtime.fresh import Fresh, fresh
from runtime.session import Array
from runtime.settings import Settings
from runtime.stats import Comparison, Times, compare_times
from runtime.trial import trial

ROUNDS = 10


@dataclass(frozen=True)
class ColdStart:
    """Fresh processes.

    Attributes:
        settings: what was asked for, with the names and hashes of the models and the shapes of their inputs.
        environment: what it ran on.
        candidate: one process per round.
        reference: the same of the other model, started right before or after.
        comparison: of the time to create the session and run it first; loading the libraries is the same for both.
    """

    settings: dict[str, Any]
    environment: dict[str, Any]
    candidate: tuple[Fresh, ...]
    reference: tuple[Fresh, ...] | None
    comparison: Comparison | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "environment": self.environment,
            "settings": self.settings,
            "unit": "s",
            "candidate": [asdict(each) for each in self.candidate],
            "reference": self.reference and [asdict(each) for each in self.reference],
            "comparison": self.comparison and comparison_figures(self.comparison),
        }


def cold_start(
    model: Path,
    against: Path | None = None,
    *,
    settings: Settings | None = None,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    given: Mapping[str, Array] | None = None,
    rounds: int = ROUNDS,
    max_time: float = 30.0,
    progress: Callable[[int], object] = lambda done: None,
) -> ColdStart:
    """Start ``rounds`` processes per model, in turns and in random order, within ``max_time`` seconds.

    The files lie in the memory of the operating system by then: reading them from a disk would come on top.

    Args:
        model: the candidate.
        against: the reference.
        settings: how both are run.
        batch: as for `runtime.bench.bench`, as are ``dims`` and ``given``.
        dims: sizes of dynamic axes by name.
        given: inputs that are not random, by name.
        rounds: at most; one at least is finished.
        max_time: in seconds.
        progress: told the number of rounds that are done.

    Raises:
        SessionError: as `runtime.trial.trial`, or ``rounds`` is less than 1.
    """
    if rounds < 1:
        raise SessionError(f"rounds = {rounds}: give at least 1")
    subject = trial(model, against, settings=settings, batch=batch, dims=dims, given=given)
    around, generator = environment(), np.random.default_rng(0)
    paths = [model] if against is None else [model, against]
    found: list[list[Fresh]] = [[] for _ in paths]
    begin = time.perf_counter()
    for number in range(rounds):
        for index in generator.permutation(len(paths)):
            found[index].append(fresh(paths[index], subject.feeds, subject.settings))
        progress(number + 1)
        if time.perf_counter() - begin > max_time:
            break
    candidate, reference = found[0], found[1] if against is not None else None
    return ColdStart(
        settings={**subject.described, "mode": "cold-start"},
        environment=around,
        candidate=tuple(candidate),
        reference=None if reference is None else tuple(reference),
        comparison=compare_times(_own(reference), _own(candidate), np.arange(len(candidate))) if reference else None,
    )


def _own(starts: list[Fresh]) -> Times:
    return np.array([each.create + each.first for each in starts])
