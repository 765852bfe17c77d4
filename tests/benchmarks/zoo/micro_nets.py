"""Networks of a few layers, one for each way in which channels are coupled."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MICRO: dict[str, Callable[[], nn.Module]] = {}  #: each takes [N, 3, 16, 16] and returns one tensor


class Net(nn.Module):
    """Layers by name, and what to do with them."""

    def __init__(self, run: Callable[[nn.ModuleDict, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.run = nn.ModuleDict(layers), run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.layers, x)


def net(function: Callable[[], tuple[dict[str, nn.Module], Callable[[nn.ModuleDict, Tensor], Tensor]]]) -> None:
    """Decorator that files a function which returns layers and the forward pass over them."""

    def make() -> nn.Module:
        layers, run = function()
        return Net(run, **layers)

    MICRO[f"micro_{function.__name__}"] = make


Parts = tuple[dict[str, nn.Module], Callable[[nn.ModuleDict, Tensor], Tensor]]


def conv(before: int, after: int, kernel: int = 3, **options: int) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU())


def head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


@net
def concat_then_norm() -> Parts:
    layers = {"a": conv(3, 8), "b": conv(3, 12, 1), "norm": nn.BatchNorm2d(20), "head": head(20)}
    return layers, lambda m, x: m["head"](F.relu(m["norm"](torch.cat([m["a"](x), m["b"](x)], 1))))


@net
def nested_concats() -> Parts:
    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["a"](x)
        y = torch.cat([x, m["b"](x)], 1)
        return m["head"](torch.cat([y, m["c"](y), x], 1))

    return {"a": conv(3, 8), "b": conv(8, 6), "c": conv(14, 10), "head": head(32)}, run


@net
def residual_of_a_concat() -> Parts:
    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["stem"](x)
        return m["head"](F.relu(x + torch.cat([m["a"](x), m["b"](x)], 1)))

    return {"stem": conv(3, 16), "a": conv(16, 8), "b": conv(16, 8, 1), "head": head(16)}, run


@net
def three_way_sum() -> Parts:
    layers = {"stem": conv(3, 12), "a": conv(12, 12), "b": conv(12, 12, 1), "head": head(12)}

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["stem"](x)
        return m["head"](x + m["a"](x) + m["b"](x))

    return layers, run


@net
def shared_layer() -> Parts:
    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["stem"](x)
        return m["head"](m["twice"](m["twice"](x)))

    return {"stem": conv(3, 12), "twice": conv(12, 12), "head": head(12)}, run


@net
def groups() -> Parts:
    layers = {"a": conv(3, 16), "b": conv(16, 24, groups=4), "c": conv(24, 16, 1, groups=2), "head": head(16)}
    return layers, lambda m, x: m["head"](m["c"](m["b"](m["a"](x))))


@net
def depthwise_multiplier() -> Parts:
    layers = {"a": conv(3, 8), "b": conv(8, 16, groups=8), "c": conv(16, 12, 1), "head": head(12)}
    return layers, lambda m, x: m["head"](m["c"](m["b"](m["a"](x))))


@net
def channel_shuffle() -> Parts:
    layers = {"a": conv(3, 16), "mix": nn.ChannelShuffle(4), "b": conv(16, 12), "head": head(12)}
    return layers, lambda m, x: m["head"](m["b"](m["mix"](m["a"](x))))


@net
def grouped_shuffle() -> Parts:
    layers = {
        "a": conv(3, 16, 1), "b": conv(16, 16, 1, groups=4), "mix": nn.ChannelShuffle(4),
        "c": conv(16, 16, 1, groups=4), "head": head(16),
    }  # fmt: skip
    return layers, lambda m, x: m["head"](m["c"](m["mix"](m["b"](m["a"](x)))))


@net
def split_and_gate() -> Parts:
    layers = {"a": conv(3, 16), "b": conv(8, 12), "head": head(12)}

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        left, right = m["a"](x).chunk(2, 1)
        return m["head"](m["b"](left * torch.sigmoid(right)))

    return layers, run


@net
def slices() -> Parts:
    layers = {"a": conv(3, 16), "b": conv(5, 8), "c": conv(11, 8), "head": head(8)}

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["a"](x)
        return m["head"](m["b"](x[:, :5]) + m["c"](x[:, 5:]))

    return layers, run


@net
def squeeze_excite() -> Parts:
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 6, 1), nn.ReLU(), nn.Conv2d(6, 16, 1), nn.Hardsigmoid())
    layers = {"a": conv(3, 16), "gate": gate, "b": conv(16, 12), "head": head(12)}

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["a"](x)
        return m["head"](m["b"](x * m["gate"](x)))

    return layers, run


@net
def transposed() -> Parts:
    up = nn.Sequential(nn.ConvTranspose2d(12, 8, 2, stride=2), nn.BatchNorm2d(8), nn.ReLU())
    wide = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
    return {"a": conv(3, 12), "up": up, "wide": wide, "b": conv(8, 6), "head": head(6)}, lambda m, x: m["head"](
        m["b"](m["wide"](m["up"](m["a"](x))))
    )


@net
def transposed_groups() -> Parts:
    up = nn.ConvTranspose2d(12, 8, 2, stride=2, groups=4)
    return {"a": conv(3, 12), "up": up, "b": conv(8, 6), "head": head(6)}, lambda m, x: m["head"](
        m["b"](m["up"](m["a"](x)))
    )


@net
def pixel_shuffle() -> Parts:
    layers = {
        "a": conv(3, 16),
        "up": nn.PixelShuffle(2),
        "b": conv(4, 8),
        "down": nn.PixelUnshuffle(2),
        "head": head(32),
    }
    return layers, lambda m, x: m["head"](m["down"](m["b"](m["up"](m["a"](x)))))


@net
def upsample_and_pool() -> Parts:
    layers = {
        "a": conv(3, 8), "pool": nn.AvgPool2d(3, 2, 1), "b": conv(8, 8),
        "up": nn.Upsample(scale_factor=2, mode="bilinear"), "c": conv(16, 8), "head": head(8),
    }  # fmt: skip

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["a"](x)
        return m["head"](m["c"](torch.cat([x, m["up"](m["b"](m["pool"](x)))], 1)))

    return layers, run


@net
def pyramid_pooling() -> Parts:
    layers = {"a": conv(3, 12), "b": conv(12, 4, 1), "c": conv(12, 4, 1), "d": conv(20, 8), "head": head(8)}

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["a"](x)
        small = [F.interpolate(m[name](F.max_pool2d(x, size)), size=(16, 16)) for name, size in (("b", 4), ("c", 8))]
        return m["head"](m["d"](torch.cat([x, *small], 1)))

    return layers, run


@net
def instance_norms() -> Parts:
    layers = {
        "a": nn.Conv2d(3, 12, 3, padding=1), "norm": nn.InstanceNorm2d(12, affine=True), "b": nn.Conv2d(12, 8, 3),
        "groups": nn.GroupNorm(4, 8), "head": head(8),
    }  # fmt: skip
    return layers, lambda m, x: m["head"](F.silu(m["groups"](m["b"](F.relu(m["norm"](m["a"](x)))))))


@net
def prelu_and_padding() -> Parts:
    layers = {"a": conv(3, 8), "slope": nn.PReLU(8), "pad": nn.ReflectionPad2d(1), "b": conv(8, 6), "head": head(6)}
    return layers, lambda m, x: m["head"](m["b"](m["pad"](m["slope"](m["a"](x)))))


@net
def flatten_to_linear() -> Parts:
    layers = {"a": conv(3, 6), "down": nn.MaxPool2d(4), "b": nn.Linear(96, 20), "c": nn.Linear(20, 10)}
    return layers, lambda m, x: m["c"](F.gelu(m["b"](m["down"](m["a"](x)).flatten(1))))


@net
def perceptron() -> Parts:
    layers = {"a": nn.Linear(768, 40), "norm": nn.BatchNorm1d(40), "b": nn.Linear(40, 20), "c": nn.Linear(20, 10)}
    return layers, lambda m, x: m["c"](F.elu(m["b"](F.leaky_relu(m["norm"](m["a"](x.flatten(1)))))))


@net
def one_dimensional() -> Parts:
    layers = {"a": nn.Conv1d(3, 16, 5, padding=2), "b": nn.Conv1d(16, 12, 3, dilation=2), "c": nn.Linear(12, 10)}
    return layers, lambda m, x: m["c"](F.relu(m["b"](F.relu(m["a"](x.flatten(2))))).mean(2))


@net
def three_dimensional() -> Parts:
    layers = {
        "a": nn.Conv3d(3, 8, 3, padding=1),
        "norm": nn.BatchNorm3d(8),
        "b": nn.Conv3d(8, 6, 1),
        "c": nn.Linear(6, 10),
    }
    return layers, lambda m, x: m["c"](m["b"](F.relu(m["norm"](m["a"](x.unsqueeze(2))))).mean((2, 3, 4)))


def tokens(x: Tensor) -> Tensor:
    """[N, 48, 16] of an image."""
    return F.pixel_unshuffle(x, 4).flatten(2).transpose(1, 2).reshape(-1, 16, 48)


@net
def transformer_block() -> Parts:
    layers = {
        "embed": nn.Linear(48, 24), "n1": nn.LayerNorm(24), "attention": nn.MultiheadAttention(24, 4, batch_first=True),
        "n2": nn.LayerNorm(24), "up": nn.Linear(24, 40), "down": nn.Linear(40, 24), "head": nn.Linear(24, 10),
    }  # fmt: skip

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["embed"](tokens(x))
        y = m["n1"](x)
        x = x + m["attention"](y, y, y, need_weights=False)[0]
        return m["head"]((x + m["down"](F.gelu(m["up"](m["n2"](x))))).mean(1))

    return layers, run


@net
def gated_mlp() -> Parts:
    layers = {
        "embed": nn.Linear(48, 24), "norm": nn.RMSNorm(24), "gate": nn.Linear(24, 40), "up": nn.Linear(24, 40),
        "down": nn.Linear(40, 24), "head": nn.Linear(24, 10),
    }  # fmt: skip

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["embed"](tokens(x))
        y = m["norm"](x)
        return m["head"]((x + m["down"](F.silu(m["gate"](y)) * m["up"](y))).mean(1))

    return layers, run


@net
def mixer() -> Parts:
    layers = {
        "embed": nn.Linear(48, 24), "n1": nn.LayerNorm(24), "t1": nn.Linear(16, 20), "t2": nn.Linear(20, 16),
        "n2": nn.LayerNorm(24), "c1": nn.Linear(24, 30), "c2": nn.Linear(30, 24), "head": nn.Linear(24, 10),
    }  # fmt: skip

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = m["embed"](tokens(x))
        x = x + m["t2"](F.gelu(m["t1"](m["n1"](x).transpose(1, 2)))).transpose(1, 2)
        return m["head"]((x + m["c2"](F.gelu(m["c1"](m["n2"](x))))).mean(1))

    return layers, run


@net
def recurrent() -> Parts:
    layers = {
        "embed": nn.Linear(48, 24), "lstm": nn.LSTM(24, 16, batch_first=True), "gru": nn.GRU(16, 12, batch_first=True),
        "head": nn.Linear(12, 10),
    }  # fmt: skip
    return layers, lambda m, x: m["head"](m["gru"](m["lstm"](F.relu(m["embed"](tokens(x))))[0])[0][:, -1])


@net
def embedding() -> Parts:
    layers = {"table": nn.Embedding(20, 16), "a": nn.Linear(16, 12), "b": nn.Linear(12, 10)}

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        index = (x[:, 0, 0] * 4 + 10).clamp(0, 19).long()
        return m["b"](F.relu(m["a"](m["table"](index))).mean(1))

    return layers, run


@net
def einsum() -> Parts:
    layers = {"a": nn.Linear(48, 24), "b": nn.Linear(48, 24), "head": nn.Linear(24, 10)}

    def run(m: nn.ModuleDict, x: Tensor) -> Tensor:
        x = tokens(x)
        left, right = F.relu(m["a"](x)), F.relu(m["b"](x))
        return m["head"](torch.einsum("ntc,nsc->nc", left, right))

    return layers, run
