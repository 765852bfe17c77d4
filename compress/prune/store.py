"""Scores that took long, in a file: who is interrupted goes on where it stopped."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from compress.errors import UserError
from compress.files import write_text
from graph.candidates.classes import Scores

EVERY = 5.0  # seconds


class Store:
    """Scores by what they are the scores of.

    Args:
        path: of the file that remembers; None to remember nothing.

    Raises:
        UserError: the file holds something else.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.written = path, 0.0
        self.scores: dict[str, list[float | None]] = {}
        if path is not None and path.exists():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                self.scores = {str(key): [*map(_score, each)] for key, each in content["scores"].items()}
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise UserError(f"{path} holds no scores of compress prune: name another file") from error

    def load(self, key: str, count: int) -> Scores:
        """What is known of ``count`` scores; the others are NaN."""
        found = self.scores.get(key, [])
        if len(found) != count:
            return np.full(count, np.nan)
        return np.array([np.nan if score is None else score for score in found])

    def save(self, key: str, scores: Scores, *, last: bool = False) -> None:
        """Remember ``scores``, NaN where one is not known; on disk every few seconds, and the ``last`` ones."""
        self.scores[key] = [None if np.isnan(score) else float(score) for score in scores]
        if self.path is not None and (last or time.monotonic() - self.written >= EVERY):
            write_text(self.path, json.dumps({"schema": 1, "scores": self.scores}) + "\n")
            self.written = time.monotonic()


def scores_file(target: Path, given: Path | None = None) -> Path:
    """Where a command keeps scores: in a file that is ``given``, or beside its target as long as it runs."""
    return given or target.with_name(f"{target.name}.scores.json")


def _score(value: object) -> float | None:
    if value is not None and not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no score")
    return value
