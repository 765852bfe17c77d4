"""Ctrl-C on the way."""

from __future__ import annotations

from dataclasses import dataclass

from compress.progress import Silent


@dataclass
class Interruption(Silent):
    """Presses Ctrl-C after so many steps."""

    after: int

    def update(self, n: int = 0, **figures: float) -> None:
        self.after -= n
        if self.after < 0:
            raise KeyboardInterrupt
