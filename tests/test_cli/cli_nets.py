"""What a user might name as module:callable."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.linear = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.bn(self.conv(x)).relu().mean((2, 3)))


class Other(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 10, 8)
        self.bn = nn.BatchNorm2d(10)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).flatten(1)


class TwoOutputs(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x
