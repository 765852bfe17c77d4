"""CIFAR ResNets of depth 6n+2 with parameter-free shortcuts.

Source: He et al., Deep Residual Learning (CVPR 2016), section 4.2, shortcut option A. Parameter names and
initialisation are those of https://github.com/akamaster/pytorch_resnet_cifar10, so that its checkpoints load.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from compress.models.registry import MODELS


class Shortcut(nn.Module):
    """Option A: every second pixel, then zero channels on both sides.

    ``[N, C, H, W] -> [N, C + 2 * padding, ceil(H / 2), ceil(W / 2)]``; plain Slice and Pad in ONNX.
    """

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: ``[N, inputs, H, W] -> [N, width, H / stride, W / stride]``."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity() if stride == 1 else Shortcut((width - inputs) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """Three stages of ``blocks`` blocks with 16, 32 and 64 channels; any image size from 4x4 up.

    Args:
        blocks: n of the depth 6n+2.
        classes: number of logits.
        channels: of the input images.
    """

    def __init__(self, blocks: int, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [BasicBlock(width, width, 1) for _ in range(blocks - 1)]
        return nn.Sequential(BasicBlock(inputs, width, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


for _depth in (20, 32, 44, 56, 110):
    MODELS.register(f"resnet{_depth}")(partial(ResNet, (_depth - 2) // 6))
