"""Anybody's photographs with a mask for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.data import views
from compress.data.imagefolder import SUFFIXES
from compress.data.segmented import SegmentedImages, filled, stack
from compress.data.source import DATA, Source
from compress.data.spec import IGNORED, Spec
from compress.errors import UserError

LAYOUT = "train/ and test/ (or val/), each with images/NAME.* and masks/NAME.*"
NAMES = "classes.txt"
BINARY = ("background", "foreground")
Pairs = list[tuple[Path, Path]]


@DATA.register("segmentation-folder")
def segmentation_folder(data_dir: Path | None) -> Source:
    """Any photographs with masks, laid out as DIR/train/images/NAME.jpg with DIR/train/masks/NAME.png, and DIR/test.

    A mask holds the number of each pixel's class, as grey values or as the entries of a palette, and 255 where nobody
    judges; or all masks are black and white. The names of the classes, a line each, stand in DIR/classes.txt; without
    that file there are two. All images are filled up with black to one size, and held in memory.
    """
    if data_dir is None:
        raise UserError(f"segmentation-folder needs --data-dir: a folder with {LAYOUT}")
    train = _pairs(data_dir / "train")
    test = _pairs(data_dir / ("test" if (data_dir / "test").is_dir() else "val"))
    names = _names(data_dir / NAMES)
    spec = Spec(
        name="segmentation-folder",
        shape=(3, *_common_size(train + test)),
        classes=len(names),
        class_names=names,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        task="segmentation",
    )
    return Source(spec, train=lambda: _read(train, spec), test=lambda: _read(test, spec))


def _names(file: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    except FileNotFoundError:
        return BINARY
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from error
    if not 2 <= len(names) < IGNORED:
        raise UserError(f"{file} names {len(names)} classes: give two to {IGNORED - 1}, a line each")
    return names


def _pairs(folder: Path) -> Pairs:
    """Photographs and their masks, by name."""
    images, masks = (_files(folder / part) for part in ("images", "masks"))
    for name in sorted(images.keys() ^ masks.keys()):
        raise UserError(f"{folder} has no {'mask' if name in images else 'image'} called '{name}'")
    return [(images[name], masks[name]) for name in images]


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: segmentation-folder expects {LAYOUT} in --data-dir")
    found = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in (*SUFFIXES, ".gif")}
    if not found:
        raise UserError(f"no images in {folder} (looked for {', '.join(SUFFIXES)}, .gif)")
    return found


def _common_size(pairs: Pairs) -> tuple[int, int]:
    """Height and width into which all photographs fit."""
    sizes = []
    for path, _ in pairs:
        with views.opened(path) as image:
            sizes.append(image.size)
    width, height = np.max(sizes, axis=0).tolist()
    return filled(height, width)


def _read(pairs: Pairs, spec: Spec) -> SegmentedImages:
    images = [np.asarray(views.read(path)) for path, _ in pairs]
    masks = [_mask(path) for _, path in pairs]
    present = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
    black_and_white = spec.classes == 2 and set(present.tolist()) <= {0, 255}
    for (path, file), image, mask in zip(pairs, images, masks, strict=True):
        if image.shape[:2] != mask.shape:
            raise UserError(f"{file} is {_size(mask)} and {path} is {_size(image)}: a mask has the size of its image")
        wrong = mask[(mask >= spec.classes) & (mask != IGNORED)]
        if wrong.size:
            raise UserError(
                f"{file} holds {wrong[0]}, which is none of {spec.classes} classes (0 to {spec.classes - 1}, "
                f"{IGNORED} for none): name all classes in {NAMES}"
            )
    if black_and_white:
        masks = [(mask > 0).astype(np.uint8) for mask in masks]
    return stack(images, masks, spec.shape[1:])


def _mask(path: Path) -> np.ndarray:
    """Uint8 ``[H, W]`` as stored."""
    with views.opened(path) as image:
        values = np.asarray(image)
    if values.ndim == 3 and (values[..., :1] == values[..., :3]).all():
        values = values[..., 0]
    if values.ndim != 2 or values.dtype not in (np.uint8, np.bool_):
        raise UserError(f"{path} is no mask: give one number of 8 bits per pixel, its class")
    return values.astype(np.uint8)


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
