"""ImageNet's two views of a photograph: the centre for evaluation, a random part for training.

Both give uint8 ``[3, 224, 224]`` and are those of https://github.com/pytorch/examples/tree/main/imagenet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from compress.errors import UserError

SIZE = 224
SHORT_SIDE = 256  # of the photograph from which the centre is cut
AREA = (0.08, 1.0)  # fraction of the photograph that a random view covers
RATIO = (3 / 4, 4 / 3)  # of its width to its height
TRIES = 10


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image in ``path``, of which only the header is read as yet.

    Raises:
        UserError: it is not an image, or cannot be read.
    """
    try:
        with Image.open(path) as image:
            yield image
    except UnidentifiedImageError as error:
        raise UserError(f"not an image: {path}") from error
    except OSError as error:
        raise UserError(f"cannot read the image {path}: {error.strerror or error}") from error


def read(path: Path) -> Image.Image:
    """The photograph in ``path``, as RGB.

    Raises:
        UserError: it is not an image, or cannot be read.
    """
    with opened(path) as image:
        return image.convert("RGB")


def centre(image: Image.Image) -> np.ndarray:
    """Short side to 256 pixels, then the central 224x224."""
    scale = SHORT_SIDE / min(image.size)
    width, height = (max(SHORT_SIDE, int(side * scale)) for side in image.size)
    left, top = (round((side - SIZE) / 2) for side in (width, height))
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return _array(resized.crop((left, top, left + SIZE, top + SIZE)))


def random(image: Image.Image, generator: np.random.Generator) -> np.ndarray:
    """A part of random area, shape and place, resized to 224x224; mirrored every second time.

    Source: Szegedy et al., Going Deeper with Convolutions (CVPR 2015), section 6.
    """
    box = _random_box(*image.size, generator)
    view = _array(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))
    return view[:, :, ::-1] if generator.random() < 0.5 else view


def _random_box(width: int, height: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    for _ in range(TRIES):
        area = width * height * generator.uniform(*AREA)
        ratio = math.exp(generator.uniform(*np.log(RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1))
            return left, top, left + w, top + h
    side = min(width, height)  # a very long or tiny photograph: its central square
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)
