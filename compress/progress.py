"""How far a long task is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

QUIET = 30.0  # seconds that a log may be without a line


class Progress(Protocol):
    """Who wants to know. Figures come seldom (once per epoch), steps often."""

    def start(self, total: int, done: int = 0) -> None:
        """A task of ``total`` steps begins, ``done`` of them already behind it."""
        ...

    def update(self, n: int = 0, **figures: float) -> None:
        """``n`` more steps are done; ``figures`` are the latest results."""
        ...

    def stop(self) -> None:
        """The task is over, well or not."""
        ...


class Silent:
    """Tells nobody."""

    def start(self, total: int, done: int = 0) -> None:
        """Nothing."""

    def update(self, n: int = 0, **figures: float) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class Lines:
    """One plain line per set of figures, and one now and then while there are none."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr

    def start(self, total: int, done: int = 0) -> None:
        """Remember the size of the task."""
        self.total, self.done, self.latest = total, done, time.monotonic()

    def update(self, n: int = 0, **figures: float) -> None:
        """Print the figures, if there are any or nothing was printed for `QUIET` seconds."""
        self.done += n
        if figures or time.monotonic() - self.latest >= QUIET:
            print(f"{self.done}/{self.total}  {describe(figures)}".rstrip(), file=self.stream, flush=True)
            self.latest = time.monotonic()

    def stop(self) -> None:
        """Nothing is left to do."""


class Terminal:
    """A bar with the time left, and the latest figures above it."""

    def __init__(self, console: Console | None = None) -> None:
        self.bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console or Console(stderr=True),
            transient=True,
        )

    def start(self, total: int, done: int = 0) -> None:
        """Show the bar."""
        self.task = self.bar.add_task("", total=total, completed=done)
        self.bar.start()

    def update(self, n: int = 0, **figures: float) -> None:
        """Move the bar; print the figures above it."""
        self.bar.advance(self.task, n)
        if figures:
            self.bar.console.print(describe(figures), highlight=False)

    def stop(self) -> None:
        """Take the bar away."""
        self.bar.stop()


def progress() -> Progress:
    """A bar if a person is watching stderr, plain lines otherwise."""
    return Terminal() if sys.stderr.isatty() else Lines()


def describe(figures: dict[str, float]) -> str:
    """Figures on one line, whole numbers as such and others with four digits."""
    return "  ".join(
        f"{name} {value:d}" if isinstance(value, int) else f"{name} {value:.4g}" for name, value in figures.items()
    )
