"""Blocks that look at a map as a sequence of tokens: matrix products, layer norms, attention."""

from __future__ import annotations

import numpy as np
from blocks import block
from networks import Map, Network
from onnx import numpy_helper


def tokens(net: Network, source: Map) -> str:
    """[N, H*W, C]."""
    return net.op("Transpose", net.op("Reshape", source.name, net.constant([0, source.channels, -1])), perm=[0, 2, 1])


def untoken(net: Network, name: str, channels: int, like: Map) -> None:
    """A map again, as high and wide as ``like``."""
    turned = net.op("Transpose", name, perm=[0, 2, 1])
    net.new(net.op("Reshape", turned, net.sizes(like.name, 0, channels, "H", "W")), channels, like.size)


def linear(net: Network, name: str, before: int, after: int) -> str:
    weight, rows = net.weight(before, after, out=1, into=0)
    product = net.op("MatMul", name, weight)
    return (
        net.op("Add", *([product, *bias] if net.chance(0.5) else [*bias, product]))
        if (bias := net.bias(rows))
        else product
    )


@block
def mlp(net: Network, source: Map) -> None:
    """Linear, layer norm or not, GELU, linear; with a residual or not."""
    entry, inner = tokens(net, source), int(net.rng.integers(2, 9))
    hidden = linear(net, entry, source.channels, inner)
    if net.chance(0.5):
        scale, shift = net.rng.standard_normal(inner), net.rng.standard_normal(inner)
        scale[net.dead(inner)] = 0
        hidden = net.op("LayerNormalization", hidden, net.constant(scale), net.constant(shift), axis=-1, epsilon=0.1)
    out = linear(net, net.op("Gelu", hidden), inner, source.channels)
    untoken(net, net.op("Add", entry, out) if net.chance(0.5) else out, source.channels, source)


@block
def class_token(net: Network, source: Map) -> None:
    """A token made of sizes in front of the others, which are then scaled by it."""
    entry = tokens(net, source)
    batch = net.op("Slice", net.op("Shape", entry), *(net.constant([place]) for place in (0, 1)))
    shape = net.op("Concat", batch, net.constant([1, source.channels]), axis=0)
    filled = numpy_helper.from_array(np.array([0.0 if net.chance(0.7) else 0.5], np.float32))
    token = net.rng.standard_normal((1, 1, source.channels))
    token[..., net.dead(source.channels)] = 0
    first = net.op("Add", net.op("ConstantOfShape", shape, value=filled), net.constant(token))
    joined = net.op("Concat", first, entry, axis=1)
    mixed = linear(net, joined, source.channels, source.channels)
    front, rest = (
        net.op("Slice", mixed, *(net.constant([place]) for place in (start, end, 1)))
        for start, end in ((0, 1), (1, 2**31))
    )
    untoken(net, net.op("Mul", front, rest), source.channels, source)


@block
def channels_last(net: Network, source: Map) -> None:
    last = net.op("Transpose", source.name, perm=[0, 2, 3, 1])
    out = int(net.rng.integers(1, 7))
    product = net.op("Relu", linear(net, last, source.channels, out))
    net.new(net.op("Transpose", product, perm=[0, 3, 1, 2]), out, source.size)


@block
def mix_tokens(net: Network, source: Map) -> None:
    """A weight on the left: sums over channels in place."""
    flat = net.op("Reshape", source.name, net.constant([0, source.channels, -1]))
    weight, _ = net.weight(4, source.channels)
    product = net.op("MatMul", weight, flat)
    net.new(net.op("Reshape", product, net.sizes(source.name, 0, 4, "H", "W")), 4, source.size)


@block
def attention(net: Network, source: Map) -> None:
    if source.size > 8:
        return
    heads, width = int(net.rng.integers(1, 4)), int(net.rng.integers(1, 4))
    inner, entry = heads * width, tokens(net, source)
    split = net.sizes(source.name, 0, "HW", heads, width)

    def part(perm: list[int]) -> str:
        return net.op("Transpose", net.op("Reshape", linear(net, entry, source.channels, inner), split), perm=perm)

    score = net.op("MatMul", part([0, 2, 1, 3]), part([0, 2, 3, 1]))
    weights = net.op("Softmax", net.op("Mul", score, net.constant(float(1 / np.sqrt(width)))), axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", weights, part([0, 2, 1, 3])), perm=[0, 2, 1, 3])
    joined = net.op("Reshape", mixed, net.sizes(source.name, 0, "HW", inner))
    untoken(net, linear(net, joined, inner, source.channels), source.channels, source)


@block
def cumulative(net: Network, source: Map) -> None:
    """An op without rule, over channels or over pixels."""
    net.weights.setdefault("axis", np.array(int(net.rng.choice([1, 2])), np.int64))
    net.new(net.op("CumSum", source.name, "axis"), source.channels, source.size)
