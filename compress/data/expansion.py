"""More images from few: six copies of each, all with its label.

Source: the code of CURL (Luo and Wu, CVPR 2020), https://github.com/Roll920/CURL.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from compress.data.images import Images

BLOCKS = (2, 3, 4)  # along each side
SIDES = (0.2, 0.5)  # of what is cut out, as fractions of the image's


def expanded(images: Images, seed: int) -> Images:
    """The images themselves, then their blocks shuffled (2x2, 3x3, 4x4), a part cut out, and rotated.

    Args:
        images: N of them.
        seed: of all that is drawn.

    Returns:
        6 N images: all copies of one kind in the order of ``images``, then those of the next.
    """
    pixels = torch.from_numpy(images.images)
    generator = Generator().manual_seed(seed)
    copies = [pixels, *(shuffled(pixels, blocks, generator) for blocks in BLOCKS)]
    copies += [cut_out(pixels, generator), rotated(pixels, generator)]
    return Images(torch.cat(copies).numpy(), np.tile(images.labels, len(copies)))


def shuffled(pixels: Tensor, blocks: int, generator: Generator) -> Tensor:
    """Each image [N, C, H, W] cut into ``blocks`` x ``blocks`` parts, which change places.

    Where the size is no multiple of ``blocks`` the image is made smaller for it, and larger again.
    """
    count, channels, height, width = pixels.shape
    h, w = height // blocks, width // blocks
    small = _resized(pixels, blocks * h, blocks * w).view(count, channels, blocks, h, blocks, w)
    parts = small.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [N, parts, C, h, w]
    order = torch.rand(parts.shape[:2], generator=generator).argsort(1)
    parts = parts[torch.arange(count)[:, None], order].view(count, blocks, blocks, channels, h, w)
    return _resized(parts.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, blocks * h, blocks * w), height, width)


def cut_out(pixels: Tensor, generator: Generator) -> Tensor:
    """Each image [N, C, H, W] with a black rectangle of its own shape somewhere inside."""
    low, high = SIDES
    fraction = low + (high - low) * torch.rand(len(pixels), generator=generator)
    inside = []
    for size in pixels.shape[2:]:
        length = (fraction * size).long()
        start = (torch.rand(len(pixels), generator=generator) * (size - length)).long()
        place = torch.arange(size)
        inside.append((place >= start[:, None]) & (place < (start + length)[:, None]))
    rows, columns = inside
    return pixels.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def rotated(pixels: Tensor, generator: Generator) -> Tensor:
    """Each image [N, C, H, W] turned by an angle of its own, the nearest pixel for each; black comes in at corners."""
    from torchvision.transforms.v2.functional import rotate  # takes a second to import

    angles = 360 * torch.rand(len(pixels), generator=generator)
    return torch.stack([rotate(image, angle) for image, angle in zip(pixels, angles.tolist(), strict=True)])


def _resized(pixels: Tensor, height: int, width: int) -> Tensor:
    if pixels.shape[2:] == (height, width):
        return pixels
    resized = F.interpolate(pixels.float(), (height, width), mode="bilinear", align_corners=False)
    return resized.round().to(torch.uint8)
