"""What training does to images, on the device they train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from compress.data.folder_images import FolderImages
from compress.data.patches import Patches
from compress.data.segmented import SegmentedImages
from compress.data.source import ImageSet
from compress.data.spec import Spec
from compress.registry import Registry

Augment = Callable[[Tensor, Generator], Tensor]
AUGMENTATIONS: Registry[Augment] = Registry("augmentation")
"""Functions of images ``[n, C, H, W]`` and a generator to changed images of the same shape and type."""


def normalise(images: Tensor, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> Tensor:
    """``(x / 255 - mean) / std``: uint8 ``[n, C, H, W]`` to float32 ``[n, C, H, W]``."""
    shift, scale = (torch.as_tensor(v, dtype=torch.float32, device=images.device).view(-1, 1, 1) for v in (mean, std))
    return (images.float() / 255 - shift) / scale


def crop(images: Tensor, generator: Generator, padding: int) -> Tensor:
    """Every image moved by up to ``padding`` pixels in each direction; zeros (black) come in at the border.

    Args:
        images: ``[n, C, H, W]``, any type, any device.
        generator: source of the offsets; on the CPU it gives the same offsets for every device.
        padding: in pixels.
    """
    count, height, width = images.shape[0], *images.shape[2:]
    corner = torch.randint(2 * padding + 1, (2, count), generator=generator, device=generator.device)
    y, x = corner.to(images.device, non_blocking=True)
    windows = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, y, x]


@AUGMENTATIONS.register("crop-flip")
def crop_flip(images: Tensor, generator: Generator, padding: int = 4) -> Tensor:
    """The usual CIFAR augmentation: `crop`, and every second image mirrored left to right."""
    mirrored = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    mirrored = mirrored.to(images.device, non_blocking=True).view(-1, 1, 1, 1)
    cropped = crop(images, generator, padding)
    return torch.where(mirrored, cropped.flip(3), cropped)


@AUGMENTATIONS.register("shift")
def shift(images: Tensor, generator: Generator) -> Tensor:
    """Moved by up to one pixel, never mirrored: for digits and letters."""
    return crop(images, generator, padding=1)


@AUGMENTATIONS.register("none")
def unchanged(images: Tensor, generator: Generator) -> Tensor:
    """No augmentation."""
    return images


class Loader:
    """Batches of float32 images and int64 labels on a device, epoch by epoch; segmented images are trained in pieces.

    Images in memory stay on the device as uint8 and are augmented there; images on disk are decoded ahead, in
    threads. Order and augmentation are a function of (seed, epoch) alone, so a run that resumes at an epoch
    sees what it would have seen.

    Args:
        images: what to load.
        spec: its mean, std and augmentation.
        batch_size: the last batch may be smaller.
        smallest: in training, a last batch of fewer images is dropped; BatchNorm has no variance to measure in one.
        device: where the batches are to be.
        seed: of order and augmentation, not negative.
        train: shuffle and augment; otherwise everything in order and unchanged.
        channels_last: memory format of the images.
        share: (k, n): the batches are the k-th of n parts of those that they would be, as for several processes.
    """

    def __init__(
        self,
        images: ImageSet,
        spec: Spec,
        batch_size: int,
        device: torch.device | str = "cpu",
        *,
        seed: int = 0,
        train: bool = False,
        channels_last: bool = False,
        smallest: int = 2,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.batch_size = batch_size
        self.smallest = smallest if train else 1
        self.device = torch.device(device)
        self.seed = seed
        self.train = train
        self._count = len(images)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._mean, self._std = (torch.tensor(v, device=self.device) for v in (spec.mean, spec.std))
        self.share = share
        self._store: _Memory | _Disk | Patches
        if isinstance(images, FolderImages):
            self._store = _Disk(images, train and spec.augment == "imagenet", share)
            return
        pixels, labels = (torch.from_numpy(a).to(self.device) for a in (images.images, images.labels))
        if not isinstance(images, SegmentedImages):
            self._store = _Memory(pixels, labels, AUGMENTATIONS.get(spec.augment) if train else unchanged)
        elif train:
            self._store = Patches.of(pixels, labels)
            self._count = len(self._store)
        else:
            self._store = _Memory(pixels, labels, unchanged)
            self.batch_size = min(batch_size, images.at_once)

    def __len__(self) -> int:
        """Batches per epoch."""
        full, rest = divmod(self._count, self.batch_size)
        return full + (rest >= self.smallest)

    def size(self, index: int) -> int:
        """Images in batch ``index`` of an epoch, in all shares."""
        return min(self.batch_size, self._count - index * self.batch_size)

    def epoch(self, index: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches ``[n, C, H, W]``, ``[n]`` or ``[n, H, W]`` of epoch ``index``; all are equal without ``train``."""
        state = np.random.SeedSequence((self.seed, index)).generate_state(1, np.uint64)
        generator = Generator().manual_seed(int(state[0]) >> 1)  # torch takes 63 bits
        order = torch.randperm(self._count, generator=generator) if self.train else torch.arange(self._count)
        for images, labels in islice(self._store.batches(order, self.batch_size, generator), len(self)):
            if not isinstance(self._store, _Disk):  # which decodes its share alone
                images, labels = (_part(each, *self.share) for each in (images, labels))
            batch = normalise(images.to(self.device), self._mean, self._std)
            yield batch.contiguous(memory_format=self._format), labels.to(self.device, torch.int64)


@dataclass(frozen=True)
class _Memory:
    """Images that lie on the device."""

    pixels: Tensor
    labels: Tensor
    augment: Augment

    def batches(self, order: Tensor, size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.split(order.to(self.pixels.device), size):
            yield self.augment(self.pixels[part], generator), self.labels[part]


@dataclass(frozen=True)
class _Disk:
    """Images that are decoded when they are needed."""

    files: FolderImages
    random: bool
    share: tuple[int, int]

    def batches(self, order: Tensor, size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        seed = int(torch.randint(2**62, (), generator=generator)) if self.random else None
        own = torch.cat([_part(batch, *self.share) for batch in torch.split(order, size)])
        size = len(_part(torch.arange(size), *self.share))
        for images, labels in self.files.decode(own.numpy(), size, seed):
            yield torch.from_numpy(images), torch.from_numpy(labels)


def _part(batch: Tensor, which: int, of: int) -> Tensor:
    return batch.tensor_split(of)[which]
