"""What training sees of segmented images: pieces of them, turned and mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

SIDE = 128  # of a piece, in pixels


@dataclass(frozen=True)
class Patches:
    """Square pieces from random places of images on a device, in one of the eight ways in which a square can lie.

    An epoch takes as many pieces of every image as it has room for side by side, so that it sees about as many pixels
    as there are.

    Attributes:
        stacked: uint8 ``[N, C + 1, H, W]``, labels behind the channels, so that whatever moves moves both.
        side: of a piece, in pixels.
    """

    stacked: Tensor
    side: int

    @classmethod
    def of(cls, images: Tensor, labels: Tensor) -> Patches:
        """Of uint8 images ``[N, C, H, W]`` and labels ``[N, H, W]``; the side is 128, or less for smaller images."""
        return cls(torch.cat([images, labels[:, None]], 1), min(SIDE, *labels.shape[1:]))

    def __len__(self) -> int:
        count, _, height, width = self.stacked.shape
        return count * -(-height * width // self.side**2)

    def batches(self, order: Tensor, size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Pieces uint8 ``[n, C, side, side]`` and labels int64 ``[n, side, side]``.

        Args:
            order: numbers ``[M]`` of pieces, of which the i-th is one of image i modulo N.
            size: pieces in a batch; the last one may be smaller.
            generator: source of places and ways, on the CPU.
        """
        for part in torch.split(order, size):
            pieces = self._cut(part % len(self.stacked), generator)
            pieces = _either(pieces, pieces.mT, generator)
            pieces = _either(pieces, pieces.flip(2), generator)
            pieces = _either(pieces, pieces.flip(3), generator)
            yield pieces[:, :-1], pieces[:, -1].long()

    def _cut(self, which: Tensor, generator: Generator) -> Tensor:
        room = [size - self.side + 1 for size in self.stacked.shape[2:]]
        y, x = (torch.randint(each, (len(which),), generator=generator).to(self.stacked.device) for each in room)
        windows = self.stacked.unfold(2, self.side, 1).unfold(3, self.side, 1)
        return windows[which.to(self.stacked.device), :, y, x]


def _either(pieces: Tensor, turned: Tensor, generator: Generator) -> Tensor:
    """Each piece as it is or turned."""
    chosen = torch.rand(len(pieces), generator=generator) < 0.5
    return torch.where(chosen.to(pieces.device).view(-1, 1, 1, 1), turned, pieces)
