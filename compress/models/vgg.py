"""VGG with batch normalisation for CIFAR, as in Network Slimming.

Source: Simonyan and Zisserman, VGG (ICLR 2015), configurations A, B, D and E; Liu et al., Network Slimming
(ICCV 2017): without the hidden linear layers and the last max-pooling, scales initialised to 0.5. Parameter
names follow https://github.com/Eric-mingjie/network-slimming.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from compress.models.initialise import initialise
from compress.models.registry import MODELS

WIDTHS = (1, 2, 4, 8, 8)  # of the stages, in units of the first one's
CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Module):
    """Five stages of 3x3 convolutions with max-pooling between them; images from 16x16 up.

    Args:
        depth: 11, 13, 16 or 19.
        classes: number of logits.
        channels: of the input images.
        width: channels of the first stage.
    """

    def __init__(self, depth: int, classes: int = 10, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for factor, count in zip(WIDTHS, CONVOLUTIONS[depth], strict=True):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                outputs = factor * width
                layers += [
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                ]
                inputs = outputs
        self.feature = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        logits: Tensor = self.classifier(self.feature(x).mean((2, 3)))  # at 32x32 the authors' AvgPool2d(2)
        return logits


for _depth in CONVOLUTIONS:
    MODELS.register(f"vgg{_depth}")(partial(VGG, _depth))
