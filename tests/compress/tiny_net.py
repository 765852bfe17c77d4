"""A network that trains in milliseconds; as a model it is called "tiny_net:TinyNet"."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TinyNet(nn.Module):
    def __init__(self, classes: int = 10, channels: int = 1, widths: tuple[int, int] = (8, 16)) -> None:
        super().__init__()
        first, second = widths
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        self.linear = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.linear(x.mean((2, 3)))


class WideNet(TinyNet):
    """TinyNet's names with other shapes."""

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__(classes, channels, widths=(8, 24))


class NoNorm(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class Plain(nn.Module):
    """Without normalisation."""

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.hidden = nn.Linear(8 * 16, 32)
        self.linear = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(torch.relu(self.conv(x)), 2)
        return self.linear(torch.relu(self.hidden(x.flatten(1))))
