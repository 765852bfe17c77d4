"""U-Nets: one class per pixel.

Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation" (MICCAI 2015),
figure 1. Ours are: convolutions with zero padding, so that the output is as large as the input, and BatchNorm after
each of them and after the up-convolutions, so that every channel has a scale.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.models.initialise import initialise
from compress.models.registry import MODELS


class UNet(nn.Module):
    """``depth`` times half the size and twice the channels, and back again; sizes are multiples of ``2**depth``.

    Args:
        width: channels at full size.
        classes: number of logits per pixel.
        channels: of the input images.
        depth: how often the size is halved.
    """

    def __init__(self, width: int, classes: int = 2, channels: int = 3, depth: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(_block(*pair) for pair in zip([channels, *widths], widths, strict=False))
        self.up = nn.ModuleList(_enlarge(2 * each, each) for each in widths[-2::-1])
        self.join = nn.ModuleList(_block(2 * each, each) for each in widths[-2::-1])
        self.head = nn.Conv2d(width, classes, 1)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes, H, W]`` of images ``[N, channels, H, W]``.

        Raises:
            ValueError: the sizes are no multiples of ``2**depth``.
        """
        multiple = 2 ** len(self.up)
        if x.shape[2] % multiple or x.shape[3] % multiple:
            raise ValueError(f"height and width must be multiples of {multiple}: fill the images up")
        skips: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        logits: Tensor = self.head(x)
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions: ``[N, inputs, H, W] -> [N, outputs, H, W]``."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _enlarge(inputs: int, outputs: int) -> nn.Sequential:
    """``[N, inputs, H, W] -> [N, outputs, 2 H, 2 W]``."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False), nn.BatchNorm2d(outputs))


MODELS.register("unet")(partial(UNet, 64))
for _width in (8, 16, 32):
    MODELS.register(f"unet{_width}")(partial(UNet, _width))
