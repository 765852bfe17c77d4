"""DenseNet-40 for CIFAR, without bottlenecks and compression, as in Network Slimming.

Source: Huang et al., Densely Connected Convolutional Networks (CVPR 2017), section 3 (L = 40, k = 12); Liu et
al., Network Slimming (ICCV 2017). Parameter names follow https://github.com/Eric-mingjie/network-slimming,
whose stem however has 24 channels (1.06 M parameters); this one has 16 as in the first paper (1.02 M).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.models.initialise import initialise
from compress.models.registry import MODELS

STEM = 16


class DenseLayer(nn.Module):
    """BN, ReLU, 3x3 convolution, beside what came in: ``[N, C, H, W] -> [N, C + growth, H, W]``."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.cat([x, self.conv1(F.relu(self.bn1(x)))], 1)


class Transition(nn.Module):
    """BN, ReLU, 1x1 convolution, average over 2x2: ``[N, C, H, W] -> [N, C, H / 2, W / 2]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.avg_pool2d(self.conv1(F.relu(self.bn1(x))), 2)


class DenseNet(nn.Module):
    """Three dense blocks; images from 4x4 up.

    Args:
        depth: 3n+4, n layers in each block.
        growth: channels that a layer adds (k).
        classes: number of logits.
        channels: of the input images.
    """

    def __init__(self, depth: int = 40, growth: int = 12, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        layers = (depth - 4) // 3
        width, added = STEM, layers * growth
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.dense1 = self._block(width, growth, layers)
        self.trans1 = Transition(width + added)
        self.dense2 = self._block(width + added, growth, layers)
        self.trans2 = Transition(width + 2 * added)
        self.dense3 = self._block(width + 2 * added, growth, layers)
        self.bn = nn.BatchNorm2d(width + 3 * added)
        self.fc = nn.Linear(width + 3 * added, classes)
        initialise(self)

    @staticmethod
    def _block(width: int, growth: int, layers: int) -> nn.Sequential:
        return nn.Sequential(*(DenseLayer(width + i * growth, growth) for i in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        x = self.trans1(self.dense1(self.conv1(x)))
        x = self.dense3(self.trans2(self.dense2(x)))
        logits: Tensor = self.fc(F.relu(self.bn(x)).mean((2, 3)))
        return logits


@MODELS.register("densenet40")
def densenet40(classes: int = 10, channels: int = 3) -> DenseNet:
    """DenseNet-40 with growth 12: 1.02 M parameters with 10 classes."""
    return DenseNet(40, 12, classes, channels)
