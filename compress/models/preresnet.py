"""Pre-activation bottleneck ResNets of depth 9n+2 for CIFAR; depth 164 is ResNet-164.

Source: He et al., Identity Mappings in Deep Residual Networks (ECCV 2016), figure 1b and section 4; Liu et
al., Network Slimming (ICCV 2017), without its channel selection, which the graph finds by itself. Parameter
names follow https://github.com/Eric-mingjie/network-slimming.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from compress.models.initialise import initialise
from compress.models.registry import MODELS

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, each after BN and ReLU: ``[N, inputs, H, W] -> [N, 4 * width, H / stride, W / stride]``.

    Args:
        inputs: channels that come in.
        width: channels of the inner convolutions.
        stride: of the 3x3 convolution.
        project: put a 1x1 convolution into the shortcut, on the raw input.
    """

    def __init__(self, inputs: int, width: int, stride: int, *, project: bool) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False)) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        inner = self.conv1(F.relu(self.bn1(x)))
        inner = self.conv2(F.relu(self.bn2(inner)))
        inner = self.conv3(F.relu(self.bn3(inner)))
        summed: Tensor = inner + self.downsample(x)
        return summed


class PreResNet(nn.Module):
    """Three stages of ``blocks`` bottlenecks with 64, 128 and 256 channels; images from 4x4 up.

    Args:
        blocks: n of the depth 9n+2.
        classes: number of logits.
        channels: of the input images.
    """

    def __init__(self, blocks: int, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16 * EXPANSION, 32, blocks, 2)
        self.layer3 = self._stage(32 * EXPANSION, 64, blocks, 2)
        self.bn = nn.BatchNorm2d(64 * EXPANSION)
        self.fc = nn.Linear(64 * EXPANSION, classes)
        initialise(self)

    @staticmethod
    def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        rest = [Bottleneck(EXPANSION * width, width, 1, project=False) for _ in range(blocks - 1)]
        return nn.Sequential(Bottleneck(inputs, width, stride, project=True), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of images ``[N, channels, H, W]``."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: Tensor = self.fc(F.relu(self.bn(x)).mean((2, 3)))
        return logits


for _depth in (20, 56, 110, 164):
    MODELS.register(f"preresnet{_depth}")(partial(PreResNet, (_depth - 2) // 9))
MODELS.register("resnet164")(partial(PreResNet, 18))  # the name it has in the papers
