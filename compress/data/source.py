"""From a place where images lie to train, validation and test sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from compress.data.folder_images import FolderImages
from compress.data.images import Images
from compress.data.segmented import SegmentedImages
from compress.data.spec import IGNORED, Spec
from compress.errors import UserError
from compress.registry import Registry

ImageSet = Images | FolderImages | SegmentedImages


@dataclass(frozen=True)
class Source:
    """Where a data set comes from; nothing is read before it is asked for.

    Attributes:
        spec: what it is.
        train: reads the training images.
        test: reads the test images.
    """

    spec: Spec
    train: Callable[[], ImageSet]
    test: Callable[[], ImageSet]


DATA: Registry[Callable[[Path | None], Source]] = Registry("data set")
"""Functions from a folder (None where the set needs none) to a `Source`."""


class Data:
    """A data set in three parts, each read from disk when it is first touched.

    The validation part is held out of the training images, stratified by class. Which images it takes depends
    on ``seed`` only, never on the seed of a training run, so that runs can be compared.

    Args:
        source: where the images come from.
        seed: of the hold-out.
        validation: fraction of the training images to hold out, 0 <= validation < 1.
    """

    def __init__(self, source: Source, *, seed: int = 0, validation: float = 0.1) -> None:
        if not 0 <= validation < 1:
            raise ValueError(f"validation must be a fraction in [0, 1), not {validation}")
        self.spec = source.spec
        self._source = source
        self._seed = seed
        self._fraction = validation

    @cached_property
    def _split(self) -> tuple[ImageSet, ImageSet]:
        images = checked(self._source.train(), self.spec)
        strata = images.strata if isinstance(images, SegmentedImages) else images.labels
        held = hold_out(strata, self._fraction, self._seed)
        return images.subset(np.flatnonzero(~held)), images.subset(np.flatnonzero(held))

    @property
    def train(self) -> ImageSet:
        """Images to fit on."""
        return self._split[0]

    @property
    def validation(self) -> ImageSet:
        """Images to decide on, held out of the training images."""
        return self._split[1]

    @cached_property
    def test(self) -> ImageSet:
        """Images to report on; to be read once."""
        images = self._source.test()
        return checked(images, self.spec) if isinstance(images, ImageSet) else images  # own ones need only batches


def checked(images: ImageSet, spec: Spec) -> ImageSet:
    """``images``, every label of which is a class of the data set, or of a pixel that nobody judges.

    Raises:
        UserError: one is not.
    """
    wrong = (images.labels < 0) | (images.labels >= spec.classes)
    if isinstance(images, SegmentedImages):
        wrong &= images.labels != IGNORED
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0])
        raise UserError(
            f"data set {spec.name}: image {first[0]} has the label {images.labels[first]}, and its {spec.classes} "
            f"classes are 0 to {spec.classes - 1}"
        )
    return images


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A random sample of ``fraction`` of every class.

    Args:
        labels: integers ``[N]``.
        fraction: in [0, 1); a class of n images gives round(n * fraction).
        seed: of the sample.

    Returns:
        bool ``[N]``, True where held out.
    """
    held = np.zeros(len(labels), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        held[members[: round(len(members) * fraction)]] = True
    return held
