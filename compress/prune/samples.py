"""Where calibration data comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compress.errors import UserError
from compress.prune.calibration import Calibration, arrays, images
from runtime import Settings, open_session

IMAGES = 256  # as CURL takes


@dataclass(frozen=True)
class Samples:
    """From nowhere if neither ``data`` nor ``given`` says.

    Attributes:
        data: name of a data set, of which training images are taken.
        folder: where it lies.
        given: files by input, instead.
        count: how many samples at most.
    """

    data: str | None = None
    folder: Path | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    count: int = IMAGES

    @property
    def none(self) -> bool:
        """Whether there are no samples."""
        return self.data is None and not self.given

    def read(self, model: Path, settings: Settings, seed: int) -> Calibration | None:
        """The samples, and the answers of ``model``; errors are those of `images` and `arrays`."""
        if self.none:
            return None
        if self.data is not None and self.given:
            raise UserError("give either --data or --input")
        session = open_session(model, settings)
        if self.data is not None:
            return images(session, self.data, self.folder, self.count, seed)
        return arrays(session, self.given, self.count)
