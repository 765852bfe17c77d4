"""Shares of a batch, one for each process, are together the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compress.data import FolderImages, Images, Spec
from compress.data.augment import Loader

COUNT = 23


@pytest.fixture(params=["memory", "disk"])
def images(request: pytest.FixtureRequest, tmp_path: Path) -> Images | FolderImages:
    random = np.random.default_rng(0)
    labels = np.arange(COUNT)
    if request.param == "memory":
        return Images(random.integers(0, 256, (COUNT, 3, 8, 8), np.uint8), labels)
    paths = np.array([tmp_path / f"{number}.png" for number in range(COUNT)], dtype=object)
    for path in paths:
        Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    return FolderImages(paths, labels)


def loader(images: Images | FolderImages, share: tuple[int, int]) -> Loader:
    augment = "crop-flip" if isinstance(images, Images) else "imagenet"
    spec = Spec("s", (3, 8, 8), COUNT, tuple(map(str, range(COUNT))), (0.5,) * 3, (0.5,) * 3, augment)
    return Loader(images, spec, 9, seed=4, train=True, share=share, smallest=2 * share[1])


@pytest.mark.parametrize("processes", [2, 3])
def test_shares_of_a_batch_are_the_batch(images: Images | FolderImages, processes: int) -> None:
    """With the augmentation of a single process, so that several processes train on the same pixels."""
    whole = list(loader(images, (0, 1)).epoch(1))
    loaders = [loader(images, (rank, processes)) for rank in range(processes)]
    shares = [list(each.epoch(1)) for each in loaders]
    for index, (pixels, labels) in enumerate(whole[: len(loaders[0])]):
        assert torch.equal(torch.cat([share[index][0] for share in shares]), pixels)
        assert torch.equal(torch.cat([share[index][1] for share in shares]), labels)
        assert loaders[0].size(index) == len(labels)
    assert {len(share) for share in shares} == {len(loaders[0])}


def test_a_last_batch_that_leaves_a_process_one_image_is_dropped(images: Images | FolderImages) -> None:
    assert [len(loader(images, (0, processes))) for processes in (1, 2, 3)] == [3, 3, 2]  # 9 + 9 + 5 images
