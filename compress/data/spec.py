"""What a data set is, apart from its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Augmentation = Literal["none", "shift", "crop-flip", "imagenet"]
TaskName = Literal["classification", "segmentation"]
IGNORED = 255  # the label of a pixel that nobody judges


@dataclass(frozen=True)
class Spec:
    """What a data set is.

    Attributes:
        name: as the user wrote it.
        shape: (C, H, W) of one image.
        classes: number of classes.
        class_names: one name per class, in the order of the labels.
        mean: per channel, of pixels scaled to 0..1.
        std: per channel, of pixels scaled to 0..1.
        augment: what training does to the images, see `compress.data.augment`; "imagenet" (random resized
            crop and flip) is for images on disk only; segmented images have their own, see `compress.data.patches`.
        task: what the labels say, of each image or of each pixel.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augmentation = "none"
    task: TaskName = "classification"

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """``(x / 255 - mean) / std``: uint8 ``[n, C, H, W]`` to float32 ``[n, C, H, W]``."""
        mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (self.mean, self.std))
        return (images.astype(np.float32) / np.float32(255) - mean) / std
