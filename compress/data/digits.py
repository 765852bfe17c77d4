"""Handwritten digits that come with scikit-learn: no download, no torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from compress.data.images import Images
from compress.data.source import DATA, Source, hold_out
from compress.data.spec import Spec

SPEC = Spec(
    name="digits",
    shape=(1, 8, 8),
    classes=10,
    class_names=tuple("0123456789"),
    mean=(0.3050,),
    std=(0.3757,),
    augment="shift",
)


@DATA.register("digits")
def digits(data_dir: Path | None = None) -> Source:
    """1797 grey 8x8 images in ten classes; a fixed fifth of every class is the test set.

    Source: `sklearn.datasets.load_digits` (UCI Optical Recognition of Handwritten Digits, test part), whose
    0..16 are scaled to 0..255.
    """
    return Source(SPEC, train=lambda: _part(test=False), test=lambda: _part(test=True))


@cache
def _all() -> Images:
    from sklearn.datasets import load_digits  # takes half a second to import

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    return Images(images, bunch.target.astype(np.int64))


def _part(*, test: bool) -> Images:
    images = _all()
    return images.subset(np.flatnonzero(hold_out(images.labels, 0.2, seed=0) == test))
