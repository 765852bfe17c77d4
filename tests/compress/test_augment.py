from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from compress.data import Images, Spec
from compress.data.augment import AUGMENTATIONS, Loader, crop, crop_flip, normalise, shift
from compress.errors import UserError

SPEC = Spec("toy", (3, 6, 5), 4, tuple("abcd"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "crop-flip")


def toy(count: int) -> Images:
    generator = np.random.default_rng(0)
    images = generator.integers(1, 256, (count, 3, 6, 5), dtype=np.uint8)
    return Images(images, generator.integers(0, 4, count))


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def drain(loader: Loader, epoch: int = 0) -> tuple[Tensor, Tensor]:
    images, labels = zip(*loader.epoch(epoch), strict=True)
    return torch.cat(images), torch.cat(labels)


def windows(image: Tensor, padding: int) -> list[Tensor]:
    """All positions of an image ``[C, H, W]`` behind a frame of its own size."""
    _, height, width = image.shape
    padded = torch.nn.functional.pad(image, (padding,) * 4)
    offsets = range(2 * padding + 1)
    return [padded[:, y : y + height, x : x + width] for y in offsets for x in offsets]


def test_normalise_agrees_with_the_path_without_torch() -> None:
    images = toy(5).images
    ours = normalise(torch.from_numpy(images), SPEC.mean, SPEC.std)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), SPEC.normalise(images), rtol=1e-6)


@pytest.mark.parametrize("padding", [1, 2, 4])
def test_crops_are_windows_of_the_padded_image_and_all_occur(padding: int) -> None:
    image = torch.from_numpy(toy(1).images)[0]
    positions = windows(image, padding)
    seen = set()
    for cropped in crop(image.expand(2000, -1, -1, -1), seeded(), padding):
        (position,) = [i for i, window in enumerate(positions) if torch.equal(window, cropped)]
        seen.add(position)
    assert len(seen) == len(positions)


def test_half_of_the_images_are_mirrored() -> None:
    image = torch.from_numpy(toy(1).images)[0]
    straight = windows(image, 4)
    mirrored = [window.flip(2) for window in straight]
    kinds = [
        (any(torch.equal(w, out) for w in straight), any(torch.equal(w, out) for w in mirrored))
        for out in crop_flip(image.expand(400, -1, -1, -1), seeded())
    ]
    assert all(one or other for one, other in kinds)
    assert 150 < sum(other for _, other in kinds) < 250


def test_shift_never_mirrors() -> None:
    image = torch.from_numpy(toy(1).images)[0]
    positions = windows(image, 1)
    assert all(any(torch.equal(w, out) for w in positions) for out in shift(image.expand(50, -1, -1, -1), seeded()))


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_every_augmentation_keeps_the_contract(name: str) -> None:
    images = torch.from_numpy(toy(9).images)
    before = images.clone()
    first, again = (AUGMENTATIONS.get(name)(images, seeded(3)) for _ in range(2))
    assert first.shape == images.shape and first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert torch.equal(images, before)


def test_training_depends_on_seed_and_epoch_alone() -> None:
    images = toy(50)
    loader = Loader(images, SPEC, 8, seed=1, train=True)
    list(loader.epoch(0))  # what came before must not matter
    resumed = drain(Loader(images, SPEC, 8, seed=1, train=True), 3)
    for ours, theirs in zip(drain(loader, 3), resumed, strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(drain(loader, 3)[0], drain(loader, 4)[0])
    assert not torch.equal(drain(loader, 3)[0], drain(Loader(images, SPEC, 8, seed=2, train=True), 3)[0])


def test_global_random_state_is_neither_used_nor_changed() -> None:
    images = toy(20)
    torch.manual_seed(0)
    first = drain(Loader(images, SPEC, 8, train=True))[0]
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))
    assert torch.equal(first, drain(Loader(images, SPEC, 8, train=True))[0])


def test_every_image_is_seen_once_per_epoch_with_its_label() -> None:
    images = toy(21)
    spec = replace(SPEC, augment="none")
    pixels, labels = drain(Loader(images, spec, 4, train=False))
    shuffled, shuffled_labels = drain(Loader(images, spec, 5, train=True))[0:2]
    assert len(pixels) == 21
    position = {row.numpy().tobytes(): int(label) for row, label in zip(pixels, labels, strict=True)}
    for row, label in zip(shuffled, shuffled_labels, strict=True):
        assert position[row.numpy().tobytes()] == label


def test_evaluation_is_in_order_and_unchanged() -> None:
    images = toy(10)
    pixels, labels = drain(Loader(images, SPEC, 4, seed=5))
    np.testing.assert_allclose(pixels.numpy(), SPEC.normalise(images.images), rtol=1e-6)
    assert labels.tolist() == images.labels.tolist()


@pytest.mark.parametrize(("count", "train", "batches"), [(16, True, 2), (17, True, 2), (18, True, 3), (17, False, 3)])
def test_a_last_batch_of_one_is_dropped_in_training(count: int, train: bool, batches: int) -> None:
    loader = Loader(toy(count), SPEC, 8, train=train)
    assert len(list(loader.epoch())) == len(loader) == batches


def test_channels_last_changes_the_layout_and_no_value() -> None:
    plain = drain(Loader(toy(8), SPEC, 8, train=True))[0]
    batch, _ = next(Loader(toy(8), SPEC, 8, train=True, channels_last=True).epoch())
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch, plain)


def test_unknown_augmentation_is_refused() -> None:
    with pytest.raises(UserError, match="unknown augmentation 'imagenet'"):
        Loader(toy(4), replace(SPEC, augment="imagenet"), 2, train=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_changes_nothing() -> None:
    here, there = (drain(Loader(toy(30), SPEC, 8, device, train=True)) for device in ("cpu", "cuda"))
    assert torch.equal(here[1], there[1].cpu())
    torch.testing.assert_close(here[0], there[0].cpu(), rtol=1e-6, atol=1e-6)
