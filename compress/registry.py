"""Names for things: models, data sets, methods, penalties."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from operator import eq
from typing import Generic, TypeVar

from compress.errors import UserError

T = TypeVar("T")

FEW = 40


def unknown(kind: str, name: str, valid: list[str]) -> UserError:
    """The error for a name that is not in ``valid``, with the nearest one, and all if they are few."""
    hint = did_you_mean(name, valid)
    names = f"valid: {', '.join(valid)}" if len(valid) <= FEW or not hint else ""
    return UserError(f"unknown {kind} '{name}'; {hint}{names}".strip())


def did_you_mean(name: str, valid: list[str]) -> str:
    """The name of ``valid`` nearest to ``name``, as a question with a space behind; empty if none is near."""
    near = difflib.get_close_matches(name, valid, n=3, cutoff=0.4)
    if not near:
        return ""

    def score(other: str) -> tuple[float, int]:  # of 'resnet2O', resnet20 is as near as resnet32: compare places
        return difflib.SequenceMatcher(None, other, name).ratio(), sum(map(eq, other, name))

    return f"did you mean '{max(near, key=score)}'? "


class Registry(Generic[T]):
    """A table from names to objects of one contract; adding an entry is one decorator.

    Args:
        kind: what the entries are, in the singular, for error messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files its object under ``name``.

        Raises:
            ValueError: the name is taken.
        """

        def file(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return file

    def get(self, name: str) -> T:
        """The entry called ``name``.

        Raises:
            UserError: there is none; the message names the nearest one.
        """
        if name not in self._entries:
            raise unknown(self.kind, name, self.names())
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, in order of registration."""
        return list(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)
