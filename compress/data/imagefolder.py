"""Photographs in one folder per class, as ImageNet comes and `torchvision.datasets.ImageFolder` reads it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from compress.data.folder_images import FolderImages
from compress.data.source import DATA, Source
from compress.data.spec import Spec
from compress.data.views import SIZE
from compress.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LAYOUT = "train/CLASS/*.jpg and val/CLASS/*.jpg (or test/)"


@DATA.register("imagefolder")
def imagefolder(data_dir: Path | None) -> Source:
    """Any photographs laid out as DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg (or val without a test).

    Seen at 224x224 with ImageNet's mean and std. Needs neither torch nor torchvision. The class names are the
    folder names, sorted.
    """
    if data_dir is None:
        raise UserError(f"imagefolder needs --data-dir: a folder with {LAYOUT}")
    train = data_dir / "train"
    test = data_dir / "test" if (data_dir / "test").is_dir() else data_dir / "val"
    names = _classes(train if train.is_dir() else test)
    spec = Spec(
        name="imagefolder",
        shape=(3, SIZE, SIZE),
        classes=len(names),
        class_names=names,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        augment="imagenet",
    )
    return Source(spec, train=lambda: _read(train, names), test=lambda: _read(test, names))


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: imagefolder expects {LAYOUT} in --data-dir")
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
    if not names:
        raise UserError(f"no class folders in {folder}: imagefolder expects {LAYOUT} in --data-dir")
    return names


def _read(folder: Path, names: tuple[str, ...]) -> FolderImages:
    odd = sorted(set(_classes(folder)) ^ set(names))
    if odd:
        raise UserError(f"{folder} has other class folders than its sibling: '{odd[0]}' is in one of them only")
    files = [_files(folder / name) for name in names]
    labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(part) for part in files])
    return FolderImages(np.array([path for part in files for path in part], dtype=object), labels)


def _files(folder: Path) -> list[Path]:
    found = [
        Path(place, file)
        for place, _, files in sorted(os.walk(folder, followlinks=True))
        for file in sorted(files)
        if file.lower().endswith(SUFFIXES)
    ]
    if not found:
        raise UserError(f"no images in {folder} (looked for {', '.join(SUFFIXES)})")
    return found
