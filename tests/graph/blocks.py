"""The blocks that random networks are made of: each reads a map and leaves one or more new ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from networks import Map, Network

BLOCKS: list[Callable[[Network, Map], None]] = []

ACTIVATIONS = """
    Relu Sigmoid Softplus HardSigmoid HardSwish Cos Tanh Elu LeakyRelu Gelu Softsign Mish Neg Abs Selu Identity
""".split()


def block(function: Callable[[Network, Map], None]) -> Callable[[Network, Map], None]:
    BLOCKS.append(function)
    return function


@block
def conv(net: Network, source: Map) -> None:
    channels = int(net.rng.integers(1, 9))
    kernel, pad = [(1, 0), (3, 1), (3, 1), (3, 0)][net.rng.integers(4)]
    if source.size < 3:
        kernel, pad = 1, 0
    stride = 2 if net.chance(0.2) and source.size >= 4 else 1
    net.maps.append(net.conv(source, channels, kernel, pad, strides=[stride, stride]))


@block
def conv_transpose(net: Network, source: Map) -> None:
    if source.size <= SMALL:
        weight, rows = net.weight(source.channels, 4, 2, 2, out=1, into=0)
        net.new(net.op("ConvTranspose", source.name, weight, *net.bias(rows), strides=[2, 2]), 4, source.size * 2)


SMALL = 8  # maps up to this size may grow


@block
def depthwise(net: Network, source: Map) -> None:
    weight, rows = net.weight(source.channels, 1, 3, 3, into=None)
    pad = int(net.chance(0.6)) if source.size >= 3 else 1
    name = net.op("Conv", source.name, weight, *net.bias(rows), group=source.channels, pads=[pad] * 4)
    net.new(name, source.channels, source.size + 2 * pad - 2)


@block
def grouped(net: Network, source: Map) -> None:
    """Several channels per group, or several filters per channel."""
    groups = [count for count in range(2, source.channels + 1) if source.channels % count == 0]
    if not groups:
        return
    group = int(net.rng.choice(groups))
    channels = group * int(net.rng.integers(1, 4))
    kernel, pad = [(1, 0), (3, 1)][net.rng.integers(2)]
    weight, rows = net.weight(channels, source.channels // group, kernel, kernel)
    name = net.op("Conv", source.name, weight, *net.bias(rows), group=group, pads=[pad] * 4)
    net.new(name, channels, source.size)


@block
def norm(net: Network, source: Map) -> None:
    size = source.channels
    dead = net.dead(size)
    gamma, beta = net.rng.standard_normal(size), net.rng.standard_normal(size)
    gamma[dead] = 0
    beta[dead & (net.rng.random(size) < 0.5)] = 0
    values = [gamma, beta, net.rng.standard_normal(size), net.rng.uniform(0.5, 2, size)]
    net.new(net.op("BatchNormalization", source.name, *map(net.constant, values)), size, source.size)


@block
def activation(net: Network, source: Map) -> None:
    kind = int(net.rng.integers(len(ACTIVATIONS) + 3))
    if kind < len(ACTIVATIONS):
        name = net.op(ACTIVATIONS[kind], source.name)
    elif kind == len(ACTIVATIONS):
        name = net.op("Clip", source.name, net.constant(0.25), net.constant(2.0))
    elif kind == len(ACTIVATIONS) + 1:
        name = net.op("PRelu", source.name, net.constant(net.rng.standard_normal((source.channels, 1, 1))))
    else:
        level = net.constant(0.5)
        name = net.op("Where", net.op("Greater", source.name, level), source.name, level)
    net.new(name, source.channels, source.size)


@block
def join(net: Network, source: Map) -> None:
    kind = str(net.rng.choice(["Add", "Add", "Add", "Sub", "Mul", "Min", "Max", "Sum", "Mean"]))
    net.new(net.op(kind, source.name, net.alike(source).name), source.channels, source.size)


@block
def residual(net: Network, source: Map) -> None:
    """A branch that returns to where it began, before or after its activation."""
    first = net.op("Relu", source.name) if net.chance(0.5) else source.name
    inner = net.conv(Map(first, source.channels, source.size), int(net.rng.integers(1, 7)), 3, 1)
    outer = net.conv(Map(net.op("Relu", inner.name), inner.channels, inner.size), source.channels, 1)
    net.new(net.op("Add", source.name, outer.name), source.channels, source.size)


@block
def concat(net: Network, source: Map) -> None:
    other = net.any(lambda entry: entry.size == source.size)
    third = [net.conv(source, 2, 1)] if net.chance(0.3) else []
    parts = [entry for entry in [source, other, *third] if entry]
    net.new(
        net.op("Concat", *(entry.name for entry in parts), axis=1), sum(entry.channels for entry in parts), source.size
    )


@block
def split(net: Network, source: Map) -> None:
    if source.channels < 2:
        return
    first = int(net.rng.integers(1, source.channels))
    sizes = [first, source.channels - first]
    name = net.op("Split", source.name, net.constant(sizes), outputs=2, axis=1)
    parts = [Map(name, sizes[0], source.size), Map(f"{name}b", sizes[1], source.size)]
    net.maps += parts
    if sizes[0] == sizes[1]:
        net.new(net.op("Mul", net.op("Sigmoid", parts[0].name), parts[1].name), first, source.size)


@block
def cut(net: Network, source: Map) -> None:
    start = int(net.rng.integers(source.channels))
    stop = int(net.rng.integers(start, source.channels)) + 1
    bounds = [net.constant([start]), net.constant([stop if net.chance(0.7) else stop - source.channels or 2**40])]
    net.new(net.op("Slice", source.name, *bounds, net.constant([1])), stop - start, source.size)


@block
def stride(net: Network, source: Map) -> None:
    """Every second pixel, and sometimes every second channel."""
    axes = [1, 2, 3] if net.chance(0.4) else [2, 3]
    slots = [[0] * len(axes), [2**40] * len(axes), axes, [2] * len(axes)]
    channels = (source.channels + 1) // 2 if len(axes) == 3 else source.channels
    net.new(net.op("Slice", source.name, *map(net.constant, slots)), channels, (source.size + 1) // 2)


@block
def gather(net: Network, source: Map) -> None:
    picks = net.rng.integers(-source.channels, source.channels, int(net.rng.integers(1, 7)))
    net.new(net.op("Gather", source.name, net.constant(picks), axis=1), picks.size, source.size)


@block
def shuffle(net: Network, source: Map) -> None:
    groups = next((g for g in (3, 2) if source.channels % g == 0), None)
    if groups is None:
        return
    apart = net.op("Reshape", source.name, net.sizes(source.name, 0, groups, source.channels // groups, "H", "W"))
    turned = net.op("Transpose", apart, perm=[0, 2, 1, 3, 4])
    joined = net.op("Reshape", turned, net.sizes(source.name, -1, source.channels, "H", "W"))
    net.new(joined, source.channels, source.size)


@block
def squeeze_excite(net: Network, source: Map) -> None:
    gate = net.op(str(net.rng.choice(["Sigmoid", "HardSigmoid", "Relu"])), excitation(net, source))
    net.new(
        net.op("Mul", *([source.name, gate] if net.chance(0.5) else [gate, source.name])), source.channels, source.size
    )


def excitation(net: Network, source: Map) -> str:
    """One value per channel from the pooled map, [N, C, 1, 1], through convolutions or through Gemm."""
    if net.chance(0.5):
        pooled = net.op("ReduceMean", source.name, net.constant([2, 3]), keepdims=1)
        inner = net.conv(Map(pooled, source.channels, 1), 3)
        return net.conv(Map(net.op("Relu", inner.name), 3, 1), source.channels).name
    pooled = net.op("ReduceMean", source.name, net.constant([2, 3]), keepdims=0)
    first, rows = net.weight(source.channels, 3, out=1, into=0)
    second, columns = net.weight(source.channels, 3)
    inner_name = net.op("Relu", net.op("Gemm", pooled, first, *net.bias(rows), alpha=0.5))
    outer = net.op("Gemm", inner_name, second, *net.bias(columns), transB=1, beta=2.0)
    return net.op("Unsqueeze", outer, net.constant([2, 3]))


@block
def spatial_gate(net: Network, source: Map) -> None:
    """A weight per pixel, [N, 1, H, W]."""
    gate = net.op("Sigmoid", net.conv(source, 1, 3, 1).name)
    net.new(net.op("Mul", source.name, gate), source.channels, source.size)


@block
def scale(net: Network, source: Map) -> None:
    shape = (1, source.channels, 1, 1) if net.chance(0.5) else (source.channels, 1, 1)
    factor = net.rng.standard_normal(shape)
    factor.reshape(-1)[net.dead(source.channels)] = 0
    kind = str(net.rng.choice(["Mul", "Mul", "Add", "Sub", "Max"]))
    net.new(net.op(kind, *([source.name, net.constant(factor)])), source.channels, source.size)


@block
def pad(net: Network, source: Map) -> None:
    value = [net.constant(float(net.rng.choice([0.0, 0.0, 1.5])))]
    if net.chance(0.6):
        before, after = (int(width) for width in net.rng.integers(0, 3, 2))
        pads = [0, before, 0, 0, 0, after, 0, 0]
        net.new(net.op("Pad", source.name, net.constant(pads), *value), source.channels + before + after, source.size)
    elif source.size <= SMALL:
        net.new(net.op("Pad", source.name, net.constant([0, 0, 1, 1] * 2), *value), source.channels, source.size + 2)


@block
def pool(net: Network, source: Map) -> None:
    if source.size < 3:
        return
    kind = str(net.rng.choice(["MaxPool", "AveragePool", "AveragePool", "LpPool"]))
    padding = int(net.chance(0.4))
    extra = {"count_include_pad": 1} if kind == "AveragePool" and net.chance(0.5) else {}
    name = net.op(kind, source.name, kernel_shape=[3, 3], strides=[2, 2], pads=[padding] * 4, **extra)
    net.new(name, source.channels, (source.size + 2 * padding - 3) // 2 + 1)


@block
def upsample(net: Network, source: Map) -> None:
    if source.size <= SMALL:
        scales = net.constant(np.array([1.0, 1, 2, 2]))
        mode = str(net.rng.choice(["nearest", "linear"]))
        net.new(net.op("Resize", source.name, "", scales, mode=mode), source.channels, source.size * 2)


@block
def resize_like(net: Network, source: Map) -> None:
    """To the height and width of another map."""
    other = net.any()
    assert other is not None
    if net.dynamic:  # batch and channels as they are
        head = net.op("Slice", net.op("Shape", source.name), net.constant([0]), net.constant([2]))
        sizes = net.op("Concat", head, net.sizes(other.name, "H", "W"), axis=0)
        net.new(net.op("Resize", source.name, "", "", sizes, mode="nearest"), source.channels, other.size)
    else:
        sizes = net.constant([other.size, other.size])
        net.new(net.op("Resize", source.name, "", "", sizes, axes=[2, 3]), source.channels, other.size)


@block
def shared(net: Network, source: Map) -> None:
    """One weight for two convolutions."""
    weight, _ = net.weight(3, source.channels, 1, 1)
    for entry in (source, net.alike(source)):
        net.new(net.op("Conv", entry.name, weight), 3, source.size)


@block
def global_context(net: Network, source: Map) -> None:
    """The pooled map, spread out again and added or appended."""
    pooled = net.op(str(net.rng.choice(["GlobalAveragePool", "GlobalMaxPool"])), source.name)
    if net.chance(0.5):
        net.new(net.op("Add", source.name, pooled), source.channels, source.size)
        return
    sizes = net.sizes(source.name, 1, 1 if net.chance(0.5) else source.channels, "H", "W")
    spread = net.op("Expand", pooled, sizes)
    net.new(net.op("Concat", source.name, spread, axis=1), 2 * source.channels, source.size)


@block
def tile(net: Network, source: Map) -> None:
    if source.channels <= 6:
        net.new(net.op("Tile", source.name, net.constant([1, 2, 1, 1])), 2 * source.channels, source.size)
