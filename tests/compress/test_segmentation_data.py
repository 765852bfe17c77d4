from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import vessels
from PIL import Image

from compress.data import SegmentedImages, load
from compress.data.augment import Loader
from compress.data.patches import Patches
from compress.errors import UserError


def save(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)


def folder(root: Path, masks: list[np.ndarray], names: str | None = None) -> Path:
    """A segmentation-folder with these masks in training, and the first one in the test."""
    for place, mask in enumerate(masks):
        for part in ("train", "test") if place == 0 else ("train",):
            save(root / part / "images" / f"{place}.jpg", np.full((*mask.shape[:2], 3), 40 * place, np.uint8))
            save(root / part / "masks" / f"{place}.png", mask)
    if names is not None:
        (root / "classes.txt").write_text(names)
    return root


def mask(*values: int, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    """The values one after the other, all over."""
    return np.resize(np.array(values, np.uint8), size)


# ---- DRIVE ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "kind"), [("tif", "gif"), ("png", "png")], ids=["as published", "converted"])
@pytest.mark.parametrize("inside", ["DRIVE", "."])
def test_drive_as_its_authors_publish_it(tmp_path: Path, image: str, kind: str, inside: str) -> None:
    vessels.drive(tmp_path / inside, image=image, mask=kind)
    data = load("drive", tmp_path)
    pixels, found, field = vessels.draw(2, 584, 565, seed=1)
    assert data.spec.shape == (3, 608, 576)
    assert data.test.images.shape == (2, 3, 608, 576)
    assert (data.test.images[:, :, :584, :565] == pixels.transpose(0, 3, 1, 2)).all()
    labels = data.test.labels[:, :584, :565]
    assert (labels == np.where(field, found, 255)).all()
    assert (data.test.labels[:, 584:] == 255).all() and (data.test.labels[:, :, 565:] == 255).all()
    assert not data.test.images[:, :, 584:].any()


def test_the_real_drive(shared_data: Path) -> None:
    data = load("drive", shared_data / "drive")
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 20)
    labels = data.test.labels
    assert 0.12 < (labels == 1).sum() / (labels != 255).sum() < 0.13
    assert 0.65 < (labels[:, :584, :565] != 255).mean() < 0.72


def test_what_drive_lacks_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs --data-dir"):
        load("drive")
    with pytest.raises(UserError, match="must contain DRIVE/ with training/ and test/"):
        _ = load("drive", tmp_path).test
    vessels.drive(tmp_path)
    (tmp_path / "test/mask/02_test_mask.gif").unlink()
    with pytest.raises(UserError, match="same numbers: one lacks 02"):
        _ = load("drive", tmp_path).test
    (tmp_path / "training/images/21_training.tif").write_text("no image")
    with pytest.raises(UserError, match=r"not an image: .*21_training.tif"):
        _ = load("drive", tmp_path).train
    save(tmp_path / "training/images/21_training.tif", np.zeros((10, 12, 3), np.uint8))
    with pytest.raises(UserError, match=r"21_training.tif is 12x10, not 565x584"):
        _ = load("drive", tmp_path).train


# ---- anybody's ------------------------------------------------------------------------------------------


def test_masks_hold_class_numbers_and_images_get_one_size(tmp_path: Path) -> None:
    masks = [mask(0, 1, 2, 255), mask(2, 1, size=(40, 10))]
    data = load("segmentation-folder", folder(tmp_path, masks, "sky\nsea\n\nland\n"), validation=0)
    assert (data.spec.classes, data.spec.class_names) == (3, ("sky", "sea", "land"))
    assert data.spec.shape == (3, 64, 32)
    for place, each in enumerate(masks):
        height, width = each.shape
        assert (data.train.labels[place, :height, :width] == each).all()
        assert (data.train.labels[place, height:] == 255).all() and (data.train.labels[place, :, width:] == 255).all()
        assert (data.train.images[place, :, :height, :width] == 40 * place).all()
    assert (data.test.labels == data.train.labels[:1]).all()


@pytest.mark.parametrize(
    ("masks", "expected"),
    [([mask(0, 255), mask(0)], {0, 1}), ([mask(0, 255), mask(0, 1)], {0, 1, 255})],
    ids=["black and white", "numbers, and pixels that nobody judges"],
)
def test_white_is_the_second_class_where_there_is_no_other_one(
    tmp_path: Path, masks: list[np.ndarray], expected: set[int]
) -> None:
    data = load("segmentation-folder", folder(tmp_path, masks), validation=0)
    assert set(np.unique(data.train.labels[:, :20, :30])) == expected


def test_a_palette_holds_class_numbers(tmp_path: Path) -> None:
    folder(tmp_path, [mask(0, 1)])
    image = Image.fromarray(mask(0, 1), mode="P")
    image.putpalette([200, 0, 0, 0, 0, 90])
    image.save(tmp_path / "test/masks/0.png")
    assert set(np.unique(load("segmentation-folder", tmp_path).test.labels[0, :20, :30])) == {0, 1}


@pytest.mark.parametrize(
    ("masks", "names", "expected"),
    [
        ([mask(0, 1, 2)], None, "holds 2, which is none of 2 classes .* in classes.txt"),
        ([mask(0, 1)], "one", "names 1 classes"),
        ([np.zeros((20, 30, 3), np.uint8) + np.array([0, 1, 2], np.uint8)], None, "is no mask"),
    ],
)
def test_masks_that_make_no_sense(tmp_path: Path, masks: list[np.ndarray], names: str | None, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        _ = load("segmentation-folder", folder(tmp_path, masks, names)).train


def test_masks_that_do_not_belong_to_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expects train/ and test/"):
        load("segmentation-folder", tmp_path)
    folder(tmp_path, [mask(0, 1), mask(0, 1)])
    save(tmp_path / "train/masks/1.png", mask(0, 1, size=(20, 31)))
    with pytest.raises(UserError, match=r"1.png is 31x20 and .*1.jpg is 30x20"):
        _ = load("segmentation-folder", tmp_path).train
    (tmp_path / "train/masks/1.png").unlink()
    with pytest.raises(UserError, match="train has no mask called '1'"):
        load("segmentation-folder", tmp_path)


# ---- batches --------------------------------------------------------------------------------------------


def test_whole_images_in_order_for_evaluation() -> None:
    images = vessels.images(5, seed=0)
    batches = list(images.batches(2, vessels.SPEC))
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    assert (np.concatenate([labels for _, labels in batches]) == images.labels).all()
    loaded = list(Loader(images, vessels.SPEC, 2).epoch())
    for (x, y), (pixels, labels) in zip(batches, loaded, strict=True):
        np.testing.assert_allclose(pixels.numpy(), x, atol=1e-6)
        assert labels.dtype == torch.int64 and (labels.numpy() == y).all()


def test_batches_of_large_images_are_small() -> None:
    large = SegmentedImages(np.zeros((3, 3, 1024, 1024), np.uint8), np.zeros((3, 1024, 1024), np.uint8))
    assert [len(labels) for _, labels in large.batches(64, vessels.SPEC)] == [1, 1, 1]
    assert len(Loader(large, vessels.SPEC, 64)) == 3


def test_pieces_show_image_and_labels_alike_in_all_eight_ways() -> None:
    height, width, side = 48, 40, 8
    place = np.arange(height * width).reshape(height, width)
    images = np.stack([place // 256, place % 256, place * 0]).astype(np.uint8)[None]
    labels = (place % 251).astype(np.uint8)[None]
    patches = Patches(torch.cat([torch.from_numpy(images), torch.from_numpy(labels)[:, None]], 1), side)
    assert len(patches) == height * width // side**2
    generator = torch.Generator().manual_seed(0)
    pieces, classes = next(patches.batches(torch.arange(500), 500, generator))
    places = pieces[:, 0].long() * 256 + pieces[:, 1]
    assert torch.equal(classes, places % 251)
    ways = set()
    for each in places:
        corners = each[[0, 0, -1, -1], [0, -1, 0, -1]]
        upright = corners.sort().values
        assert (
            each.flatten().sort().values.view(side, side) - upright[0] == torch.from_numpy(place[:side, :side])
        ).all()
        ways.add(tuple((corners - upright[0]).tolist()))
    assert len(ways) == 8
    assert len(set(places.amin((1, 2)).tolist())) > 300


def test_an_epoch_of_pieces_is_a_function_of_seed_and_epoch() -> None:
    def epoch(seed: int, index: int) -> torch.Tensor:
        loader = Loader(vessels.images(4, seed=0), vessels.SPEC, 3, seed=seed, train=True)
        return torch.cat([images for images, _ in loader.epoch(index)])

    assert torch.equal(epoch(1, 2), epoch(1, 2))
    assert not torch.equal(epoch(1, 2), epoch(1, 3))
    assert not torch.equal(epoch(1, 2), epoch(2, 2))


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), np.zeros((2, 4, 4), np.uint8), "images must be uint8"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 5), np.uint8), r"labels must be uint8 \[2, 4, 4\]"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 4, 4), np.int64), "labels must be uint8"),
    ],
)
def test_arrays_of_other_types_and_shapes_are_refused(images: np.ndarray, labels: np.ndarray, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        SegmentedImages(images, labels)
