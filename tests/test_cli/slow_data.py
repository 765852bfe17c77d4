"""Data that takes its time, so that a test can interrupt; its module needs no torch."""

from __future__ import annotations

import time
from pathlib import Path

from compress.data import Source
from compress.data.digits import digits


def slow() -> Source:
    """The digits, after a wait that a test can interrupt."""
    Path("waiting").touch()
    time.sleep(60)
    return digits()
