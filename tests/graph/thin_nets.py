"""The networks that people train, small, by their widths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Widths = dict[str, int]

CLASSES = 10


def conv(before: int, after: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and BatchNorm."""
    layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after))


def norm_first(before: int, after: int, kernel: int) -> nn.Sequential:
    """BatchNorm, ReLU and convolution."""
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(), layer)


class Sum(nn.Module):
    """The sum of two branches."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.branch(x)


class Concat(nn.Module):
    """The input, and what a branch makes of it."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.branch(x)], 1)


def head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


def basic_resnet(w: Widths) -> nn.Module:
    def branch(before: int, inner: int, after: int, stride: int = 1) -> nn.Module:
        return nn.Sequential(conv(before, inner, 3, stride), nn.ReLU(), conv(inner, after))

    return nn.Sequential(
        conv(3, w["stem"]), nn.ReLU(),
        Sum(branch(w["stem"], w["b1"], w["stem"])), nn.ReLU(),
        Sum(branch(w["stem"], w["b2"], w["stage"], 2), conv(w["stem"], w["stage"], 1, 2)), nn.ReLU(),
        Sum(branch(w["stage"], w["b3"], w["stage"])), nn.ReLU(),
        *head(w["stage"]),
    )  # fmt: skip


def bottleneck_resnet(w: Widths) -> nn.Module:
    """Also ResNeXt, if there are groups."""

    def branch(before: int, block: int, after: int) -> nn.Module:
        groups = w.get(f"n_groups{block}", 1)
        a, b = w[f"a{block}"], w[f"b{block}"]
        return nn.Sequential(conv(before, a, 1), nn.ReLU(), conv(a, b, 3, 1, groups), nn.ReLU(), conv(b, after, 1))

    return nn.Sequential(
        conv(3, w["stem"], 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        Sum(branch(w["stem"], 1, w["stage"]), conv(w["stem"], w["stage"], 1)), nn.ReLU(),
        Sum(branch(w["stage"], 2, w["stage"])), nn.ReLU(),
        *head(w["stage"]),
    )  # fmt: skip


def preactivation_resnet(w: Widths) -> nn.Module:
    def branch(inner: int) -> nn.Module:
        return nn.Sequential(norm_first(w["stem"], inner, 3), norm_first(inner, w["stem"], 3))

    first = nn.Conv2d(3, w["stem"], 3, padding=1, bias=False)
    last = nn.BatchNorm2d(w["stem"]), nn.ReLU()
    return nn.Sequential(first, Sum(branch(w["b1"])), Sum(branch(w["b2"])), *last, *head(w["stem"]))


def vgg(w: Widths) -> nn.Module:
    """Without BatchNorm before the last block; 12 pixels become 3."""
    plain = nn.Conv2d(w["c2"], w["c3"], 3, padding=1), nn.ReLU()
    features = [
        conv(3, w["c1"]),
        nn.ReLU(),
        nn.MaxPool2d(2),
        conv(w["c1"], w["c2"]),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *plain,
    ]
    linear: list[nn.Module] = []
    for before, after in pairwise([9 * w["c3"], w["f1"], w["f2"], CLASSES]):
        linear += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*features, nn.Flatten(), *linear[:-1])


def densenet(w: Widths) -> nn.Module:
    def layer(before: int, inner: int, growth: int) -> nn.Module:
        return Concat(nn.Sequential(norm_first(before, inner, 1), norm_first(inner, growth, 3)))

    one = w["stem"] + w["g1"]
    two, three = one + w["g2"], w["transition"] + w["g3"]
    return nn.Sequential(
        conv(3, w["stem"]), nn.ReLU(), nn.MaxPool2d(2),
        layer(w["stem"], w["k1"], w["g1"]), layer(one, w["k2"], w["g2"]),
        norm_first(two, w["transition"], 1), nn.AvgPool2d(2), layer(w["transition"], w["k3"], w["g3"]),
        nn.BatchNorm2d(three), nn.ReLU(), *head(three),
    )  # fmt: skip


def inverted(
    before: int, inner: int, after: int, act: type[nn.Module], *between: nn.Module, stride: int = 1
) -> nn.Module:
    """Expansion, depthwise convolution, whatever is between, projection."""
    depthwise = conv(inner, inner, 3, stride, inner)
    return nn.Sequential(conv(before, inner, 1), act(), depthwise, act(), *between, conv(inner, after, 1))


def mobilenet_v2(w: Widths) -> nn.Module:
    return nn.Sequential(
        conv(3, w["stem"], 3, 2), nn.ReLU6(), inverted(w["stem"], w["e1"], w["stage"], nn.ReLU6, stride=2),
        Sum(inverted(w["stage"], w["e2"], w["stage"], nn.ReLU6)), conv(w["stage"], w["last"], 1), nn.ReLU6(),
        *head(w["last"]),
    )  # fmt: skip


class SqueezeExcite(nn.Module):
    """A gate per channel."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        squeeze = nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU()
        self.gate = nn.Sequential(*squeeze, nn.Conv2d(inner, channels, 1), nn.Hardsigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def mobilenet_v3(w: Widths) -> nn.Module:
    first = inverted(w["stem"], w["e1"], w["stage"], nn.ReLU, SqueezeExcite(w["e1"], w["s1"]), stride=2)
    second = inverted(w["stage"], w["e2"], w["stage"], nn.Hardswish, SqueezeExcite(w["e2"], w["s2"]))
    return nn.Sequential(
        conv(3, w["stem"], 3, 2), nn.Hardswish(), first, Sum(second), conv(w["stage"], w["last"], 1), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(w["last"], w["f"]), nn.Hardswish(), nn.Linear(w["f"], CLASSES),
    )  # fmt: skip


class ShuffleNet(nn.Module):
    """A unit with two branches, one with a channel split; both end in a channel shuffle."""

    def __init__(self, w: Widths) -> None:
        super().__init__()
        half = w["half"]
        self.stem = nn.Sequential(conv(3, w["stem"]), nn.ReLU())
        self.left = nn.Sequential(conv(w["stem"], w["stem"], 3, 2, w["stem"]), conv(w["stem"], half, 1), nn.ReLU())
        self.right = self.branch(w["stem"], w["inner"], half, 2)
        self.unit = self.branch(half, w["middle"], half, 1)
        self.last = nn.Sequential(conv(2 * half, w["last"], 1), nn.ReLU())
        self.shuffle = nn.ChannelShuffle(2)
        self.head = nn.Sequential(*head(w["last"]))

    @staticmethod
    def branch(before: int, inner: int, after: int, stride: int) -> nn.Module:
        first, last = conv(before, inner, 1), conv(inner, after, 1)
        return nn.Sequential(first, nn.ReLU(), conv(inner, inner, 3, stride, inner), last, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        one, two = self.shuffle(torch.cat([self.left(x), self.right(x)], 1)).chunk(2, 1)
        return self.head(self.last(self.shuffle(torch.cat([one, self.unit(two)], 1))))


class UNet(nn.Module):
    """Two steps down, two up."""

    def __init__(self, w: Widths) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.top, self.inner = self.block(3, w["a"]), self.block(w["a"], w["b"])
        self.bottom = self.block(w["b"], w["c"])
        self.up1, self.up2 = nn.ConvTranspose2d(w["c"], w["u1"], 2, 2), nn.ConvTranspose2d(w["d1"], w["u2"], 2, 2)
        self.join1, self.join2 = self.block(w["u1"] + w["b"], w["d1"]), self.block(w["u2"] + w["a"], w["d2"])
        self.out = nn.Conv2d(w["d2"], 2, 1)

    @staticmethod
    def block(before: int, after: int) -> nn.Module:
        return nn.Sequential(conv(before, after), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        top = self.top(x)
        inner = self.inner(self.pool(top))
        x = self.up1(self.bottom(self.pool(inner)))
        x = self.up2(self.join1(torch.cat([x, inner], 1)))
        return self.out(self.join2(torch.cat([x, top], 1)))


EMBEDDING, HEAD = 12, 4  # sizes that no width may change: layer norms and the scale of attention depend on them


class Attention(nn.Module):
    """Self-attention with query, key and value from three layers, or from one."""

    def __init__(self, heads: int, *, fused: bool) -> None:
        super().__init__()
        inner = heads * HEAD
        self.heads = heads
        self.into = nn.ModuleList(nn.Linear(EMBEDDING, inner) for _ in range(3)) if not fused else None
        self.qkv = nn.Linear(EMBEDDING, 3 * inner) if fused else None
        self.out = nn.Linear(inner, EMBEDDING)

    def parts(self, x: Tensor) -> Sequence[Tensor]:
        """Query, key and value, each [N, heads, tokens, dimension]."""
        tokens = x.shape[1]
        if self.qkv is not None:
            return self.qkv(x).reshape(-1, tokens, 3, self.heads, HEAD).permute(2, 0, 3, 1, 4).unbind(0)
        return [layer(x).reshape(-1, tokens, self.heads, HEAD).transpose(1, 2) for layer in self.into]

    def forward(self, x: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(*self.parts(x))
        return self.out(mixed.transpose(1, 2).flatten(2))


class ViT(nn.Module):
    """Patches of 4 pixels, a class token, two blocks."""

    def __init__(self, w: Widths, *, fused: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, EMBEDDING, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, EMBEDDING))
        self.position = nn.Parameter(torch.randn(1, 10, EMBEDDING))
        self.blocks = nn.Sequential(*(self.block(w[f"n_heads{i}"], w[f"m{i}"], fused) for i in (1, 2)))
        self.head = nn.Sequential(nn.LayerNorm(EMBEDDING), nn.Linear(EMBEDDING, CLASSES))

    @staticmethod
    def block(heads: int, inner: int, fused: bool) -> nn.Module:
        mlp = nn.Linear(EMBEDDING, inner), nn.GELU(), nn.Linear(inner, EMBEDDING)
        attention = nn.Sequential(nn.LayerNorm(EMBEDDING), Attention(heads, fused=fused))
        return nn.Sequential(Sum(attention), Sum(nn.Sequential(nn.LayerNorm(EMBEDDING), *mlp)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.blocks(x)[:, 0])


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, layer norm, two linear layers, layer scale."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, inner), nn.GELU(), nn.Linear(inner, channels))
        self.scale = nn.Parameter(torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.scale * self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + y.permute(0, 3, 1, 2)


def convnext(w: Widths) -> nn.Module:
    """The width of the residual is that of layer norms, and stays."""
    stem = nn.Conv2d(3, EMBEDDING, 2, 2), ConvNeXtBlock(EMBEDDING, w["m1"]), ConvNeXtBlock(EMBEDDING, w["m2"])
    return nn.Sequential(*stem, nn.Conv2d(EMBEDDING, w["last"], 2, 2), nn.GELU(), *head(w["last"]))
