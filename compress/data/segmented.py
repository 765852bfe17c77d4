"""Images with a class for every pixel, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compress.data.images import check_pixels
from compress.data.spec import IGNORED, Spec
from compress.errors import UserError

MULTIPLE = 32  # of height and width: networks that halve five times read every image
PIXELS = 2**20  # in a batch for evaluation; feature maps of whole images take their room


@dataclass(frozen=True, eq=False)
class SegmentedImages:
    """Images with a class for every pixel; the same contract as `compress.data.images.Images`.

    Attributes:
        images: uint8 ``[N, C, H, W]``.
        labels: uint8 ``[N, H, W]``; 255 is a pixel that nobody judges.

    Raises:
        UserError: the arrays have other types or shapes.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        check_pixels(self.images)
        count, _, height, width = self.images.shape
        if self.labels.dtype != np.uint8 or self.labels.shape != (count, height, width):
            found = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise UserError(f"labels must be uint8 {[count, height, width]}, one per pixel; got {found}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def strata(self) -> np.ndarray:
        """For a stratified hold-out, int64 ``[N]``: all images are alike."""
        return np.zeros(len(self), np.int64)

    @property
    def at_once(self) -> int:
        """How many whole images make a batch for evaluation, at most."""
        return max(1, PIXELS // int(self.labels[0].size))

    def subset(self, indices: np.ndarray) -> SegmentedImages:
        """The images at ``indices`` (integers or a boolean mask), in that order."""
        return SegmentedImages(self.images[indices], self.labels[indices])

    def batches(self, size: int, spec: Spec) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Whole, in order: normalised float32 ``[n, C, H, W]`` and int64 labels ``[n, H, W]``, n <= size."""
        size = min(size, self.at_once)
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield spec.normalise(self.images[part]), self.labels[part].astype(np.int64)


def stack(images: Sequence[np.ndarray], labels: Sequence[np.ndarray], size: tuple[int, int]) -> SegmentedImages:
    """Images ``[H, W, C]`` with labels ``[H, W]`` of any sizes, each filled up at the right and below.

    Args:
        images: uint8; they are filled up with black.
        labels: uint8; what fills them up is not judged.
        size: height and width that all get.
    """
    channels = images[0].shape[2]
    pixels = np.zeros((len(images), channels, *size), np.uint8)
    classes = np.full((len(images), *size), IGNORED, np.uint8)
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        height, width = label.shape
        pixels[place, :, :height, :width] = image.transpose(2, 0, 1)
        classes[place, :height, :width] = label
    return SegmentedImages(pixels, classes)


def filled(height: int, width: int) -> tuple[int, int]:
    """The next larger multiples of 32."""
    return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE
