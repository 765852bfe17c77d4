"""The one exception of this package that is meant for a person."""

from __future__ import annotations


class ModelError(Exception):
    """The model cannot be read, understood or written. One line: what is wrong, where, what to do."""
