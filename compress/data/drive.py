"""DRIVE: photographs of retinas with their vessels; never downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.data import views
from compress.data.segmented import SegmentedImages, filled, stack
from compress.data.source import DATA, Source
from compress.data.spec import IGNORED, Spec
from compress.errors import UserError

SIZE = (584, 565)  # height and width
PARTS = ("images", "1st_manual", "mask")  # photographs, the first observer's vessels, fields of view
NEEDS = "DRIVE/ with training/ and test/, each with images/, 1st_manual/ and mask/"


@DATA.register("drive")
def drive(data_dir: Path | None) -> Source:
    """DRIVE (Staal et al., IEEE Trans. Med. Imaging 23, 2004): 20 + 20 photographs of 565x584, vessel or not.

    As its authors publish it (.tif and .gif), or in any other form of image under the same numbers. Pixels outside the
    field of view are not judged. Every image is filled up with black to 576x608.
    """
    if data_dir is None:
        raise UserError(f"drive needs --data-dir: the folder that contains {NEEDS}")
    folder = data_dir / "DRIVE" if (data_dir / "DRIVE").is_dir() else data_dir
    spec = Spec(
        name="drive",
        shape=(3, *filled(*SIZE)),
        classes=2,
        class_names=("background", "vessel"),
        mean=(0.497, 0.271, 0.162),
        std=(0.348, 0.190, 0.108),
        task="segmentation",
    )
    return Source(spec, train=lambda: _read(folder / "training"), test=lambda: _read(folder / "test"))


def _read(folder: Path) -> SegmentedImages:
    photographs, vessels, fields = (_numbered(folder / part) for part in PARTS)
    for part, found in zip(PARTS[1:], (vessels, fields), strict=True):
        for number in sorted(photographs.keys() ^ found.keys()):
            raise UserError(f"{folder / part} and {folder / PARTS[0]} must have the same numbers: one lacks {number}")
    images = [_pixels(path) for path in photographs.values()]
    labels = [
        np.where(_bright(fields[number]), _bright(vessels[number]), IGNORED).astype(np.uint8) for number in photographs
    ]
    return stack(images, labels, filled(*SIZE))


def _bright(path: Path) -> np.ndarray:
    return _pixels(path)[:, :, 0] > 127


def _pixels(path: Path) -> np.ndarray:
    """Uint8 ``[H, W, 3]``."""
    image = views.read(path)
    if image.size != SIZE[::-1]:
        size, expected = ("x".join(map(str, each)) for each in (image.size, SIZE[::-1]))
        raise UserError(f"{path} is {size}, not {expected} as all of drive: other images are for segmentation-folder")
    return np.asarray(image)


def _numbered(folder: Path) -> dict[str, Path]:
    """The files by the number with which their names begin, such as 21 in 21_manual1.gif."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"no drive in {folder}: {error.strerror}; --data-dir must contain {NEEDS}") from error
    found = {file.name.partition("_")[0]: file for file in files if file.name[:1].isdigit()}
    if not found:
        raise UserError(f"no images in {folder}: --data-dir must contain {NEEDS}")
    return found
