"""Images with bright lines to be found, in memory or as folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from compress.data import SegmentedImages, Source, Spec
from compress.models.unet import UNet

SPEC = Spec(
    name="vessels",
    shape=(3, 32, 32),
    classes=2,
    class_names=("background", "vessel"),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    task="segmentation",
)


def draw(count: int, height: int = 32, width: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy images [N, H, W, 3], vessels bool [N, H, W] and round fields of view bool [N, H, W]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    vessels = np.zeros((count, height, width), bool)
    for each in vessels:
        for _ in range(3):
            angle, shift = generator.uniform(0, np.pi), generator.uniform(-10, 10)
            each |= abs((x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle) - shift) < 1.5
    field = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (0.48 * min(height, width)) ** 2
    images = 90 + 70 * vessels[..., None] + generator.normal(0, 10, (count, height, width, 3))
    return (images * field[..., None]).astype(np.uint8), vessels, np.broadcast_to(field, vessels.shape)


def images(count: int, seed: int) -> SegmentedImages:
    pixels, vessels, field = draw(count, seed=seed)
    labels = np.where(field, vessels, 255).astype(np.uint8)
    return SegmentedImages(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels)


def source() -> Source:
    """As a data set it is called "vessels:source"."""
    return Source(SPEC, train=lambda: images(12, seed=1), test=lambda: images(3, seed=2))


def net(classes: int, channels: int) -> UNet:
    """As a model it is called "vessels:net"."""
    return UNet(6, classes, channels, depth=2)


def drive(folder: Path, count: int = 2, image: str = "tif", mask: str = "gif") -> Path:
    """The layout in which DRIVE is published."""
    for part, first in (("training", 21), ("test", 1)):
        for place, (pixels, vessels, field) in enumerate(zip(*draw(count, 584, 565, first), strict=True), first):
            for name, array, suffix in (
                (f"images/{place:02}_{part}", pixels, image),
                (f"1st_manual/{place:02}_manual1", 255 * vessels.astype(np.uint8), mask),
                (f"mask/{place:02}_{part}_mask", 255 * field.astype(np.uint8), mask),
            ):
                file = folder / part / f"{name}.{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(file)
    return folder
