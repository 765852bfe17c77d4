"""Labelled images in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compress.data.spec import Spec
from compress.errors import UserError


def check_pixels(images: np.ndarray) -> None:
    """See that ``images`` are uint8 [N, C, H, W].

    Raises:
        UserError: they are not.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        found = f"{images.dtype} {list(images.shape)}"
        raise UserError(f"images must be uint8 [N, C, H, W] with values 0..255; got {found}")


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images in memory.

    Attributes:
        images: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``.

    Raises:
        UserError: the arrays have other types or shapes.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        check_pixels(self.images)
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise UserError(f"labels must be int64 [{len(self.images)}], one per image; got {found}")

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: np.ndarray) -> Images:
        """The images at ``indices`` (integers or a boolean mask), in that order."""
        return Images(self.images[indices], self.labels[indices])

    def batches(self, size: int, spec: Spec) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Unaugmented, in order: normalised float32 ``[n, C, H, W]`` and int64 labels ``[n]``, n <= size."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield spec.normalise(self.images[part]), self.labels[part]
