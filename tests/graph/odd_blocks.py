"""Blocks that set traps: values that depend on the image's size, axes that change roles, pads that cut."""

from __future__ import annotations

import numpy as np
from blocks import SMALL, block
from networks import Map, Network


@block
def pooled_pixels(net: Network, source: Map) -> None:
    """A gate per channel from all pixels; sums of constants grow with the image."""
    kind = str(net.rng.choice(["Sum", "L1", "L2", "Mean", "Max", "Min", "LogSumExp", "SumSquare"]))
    pooled = net.op(f"Reduce{kind}", source.name, net.constant([2, 3]), keepdims=1)
    gate = net.op(str(net.rng.choice(["Tanh", "Sigmoid"])), pooled)
    net.new(net.op(str(net.rng.choice(["Mul", "Add"])), source.name, gate), source.channels, source.size)


@block
def normalised(net: Network, source: Map) -> None:
    """Norms without parameters."""
    kind = int(net.rng.integers(3))
    if kind == 0:
        name = net.op("LRN", source.name, size=3, alpha=0.5)
    elif kind == 1:
        pooled = net.op("GlobalLpPool", source.name, p=2)
        name = net.op("Div", source.name, net.op("Add", pooled, net.constant(1.0)))
    else:
        name = net.op("LpNormalization", net.op("Add", net.op("Abs", source.name), net.constant(0.5)), axis=2, p=2)
    net.new(name, source.channels, source.size)


@block
def channels_as_batch(net: Network, source: Map) -> None:
    """One filter over every channel by itself."""
    apart = net.op("Reshape", source.name, net.sizes(source.name, -1, 1, "H", "W"))
    weight, rows = net.weight(1, 1, 3, 3)
    name = net.op("Conv", apart, weight, *net.bias(rows), pads=[1] * 4)
    joined = net.op("Reshape", name, net.sizes(source.name, -1, source.channels, "H", "W"))
    net.new(joined, source.channels, source.size)


@block
def channel_attention(net: Network, source: Map) -> None:
    """Every channel looks at every other."""
    flat = net.op("Reshape", source.name, net.constant([0, source.channels, -1]))
    score = net.op("MatMul", flat, net.op("Transpose", flat, perm=[0, 2, 1]))
    mixed = net.op("MatMul", net.op("Softmax", net.op("Mul", score, net.constant(0.01)), axis=-1), flat)
    net.new(
        net.op("Reshape", mixed, net.sizes(source.name, 0, source.channels, "H", "W")), source.channels, source.size
    )


@block
def pixel_attention(net: Network, source: Map) -> None:
    """Every pixel looks at every other, by all channels."""
    if source.size > SMALL:
        return
    flat = net.op("Reshape", source.name, net.constant([0, source.channels, -1]))
    score = net.op("MatMul", net.op("Transpose", flat, perm=[0, 2, 1]), flat)
    mixed = net.op("MatMul", flat, net.op("Softmax", net.op("Mul", score, net.constant(0.01)), axis=1))
    net.new(
        net.op("Reshape", mixed, net.sizes(source.name, 0, source.channels, "H", "W")), source.channels, source.size
    )


@block
def rows_together(net: Network, source: Map) -> None:
    """Two maps one above the other, through one convolution, and apart again."""
    other = net.alike(source)
    both = net.op("Concat", source.name, other.name, axis=2)
    weight, rows = net.weight(4, source.channels, 1, 1)
    name = net.op("Conv", both, weight, *net.bias(rows))
    parts = net.op("Split", name, outputs=2, axis=2, num_outputs=2)
    net.new(parts, 4, source.size)
    net.new(f"{parts}b", 4, source.size)


@block
def crop(net: Network, source: Map) -> None:
    """Pads below zero, and mirrored ones."""
    if net.chance(0.5) and source.channels > 2:
        name = net.op("Pad", source.name, net.constant([0, -1, 0, 0, 0, -1, 0, 0]))
        net.new(name, source.channels - 2, source.size)
    elif 2 < source.size <= SMALL:
        mode = str(net.rng.choice(["reflect", "edge", "wrap"]))
        slots = [net.constant([1, 1, 1, 1]), "", net.constant([2, 3])]
        net.new(net.op("Pad", source.name, *slots, mode=mode), source.channels, source.size + 2)


@block
def reverse(net: Network, source: Map) -> None:
    slots = [net.constant([-1]), net.constant([-(2**40)]), net.constant([1]), net.constant([-1])]
    net.new(net.op("Slice", source.name, *slots), source.channels, source.size)


@block
def mask(net: Network, source: Map) -> None:
    """A choice per channel that is made beforehand."""
    chosen = net.constant(net.rng.random((source.channels, 1, 1)) < 0.5)
    other = net.alike(source).name if net.chance(0.5) else net.constant(float(net.rng.choice([0.0, 1.5])))
    net.new(net.op("Where", chosen, source.name, other), source.channels, source.size)


@block
def other_types(net: Network, source: Map) -> None:
    """Through another type and back."""
    wide = net.op("Cast", source.name, to=11)
    net.new(net.op("Cast", net.op("Abs", wide), to=1), source.channels, source.size)


@block
def count(net: Network, source: Map) -> None:
    """Divided by the number of its elements: a size is read as a value."""
    if net.chance(0.5):
        total = net.op("Cast", net.op("Size", source.name), to=1)
    else:
        shape = net.op("Shape", source.name, start=1)
        total = net.op("Cast", net.op("ReduceProd", shape, keepdims=0), to=1)
    net.new(net.op("Mul", source.name, net.op("Log", total)), source.channels, source.size)


@block
def positions(net: Network, source: Map) -> None:
    """A row of a table per column of the image, as many as there are."""
    table, _ = net.weight(32, source.channels, out=1, into=None)
    width = net.op("Gather", net.op("Shape", source.name), net.constant(np.array(3)))
    places = net.op("Range", net.constant(np.array(0)), width, net.constant(np.array(1)))
    found = net.op("Transpose", net.op("Gather", table, places), perm=[1, 0])
    wide = net.op("Unsqueeze", found, net.constant([1]))
    net.new(net.op("Add", source.name, wide), source.channels, source.size)


@block
def padded_to_a_multiple(net: Network, source: Map) -> None:
    """Zeros up to a multiple of 8 pixels, of which none are missing at 8 and at 64."""
    size, eight = net.op("Shape", source.name, start=2), net.constant([8, 8])
    missing = net.op("Mod", net.op("Sub", eight, net.op("Mod", size, eight)), eight)
    padded = net.op("Pad", source.name, net.op("Concat", net.constant([0] * 6), missing, axis=0))
    weight, rows = net.weight(4, source.channels, 3, 3)
    found = net.op("Conv", padded, weight, *net.bias(rows), pads=[1] * 4)
    net.new(net.op("Slice", found, net.constant([0, 0]), size, net.constant([2, 3])), 4, source.size)


@block
def row_at_a_place(net: Network, source: Map) -> None:
    """The row of a table that the width of the image points to, through a layer of its own."""
    table = net.constant(net.rng.standard_normal((129, 20)))
    place = net.op("Shape", source.name, start=3)
    end = net.op("Add", place, net.constant([1]))
    row = net.op("Slice", table, place, end, net.constant([0]))
    weight, _ = net.weight(20, source.channels, out=1, into=None)
    gate = net.op("Reshape", net.op("MatMul", row, weight), net.constant([1, -1, 1, 1]))
    net.new(net.op("Add", source.name, gate), source.channels, source.size)


@block
def three_dimensional(net: Network, source: Map) -> None:
    """A convolution in three dimensions over a map that has two."""
    weight, rows = net.weight(3, source.channels, 1, 3, 3)
    deep = net.op(
        "Conv", net.op("Unsqueeze", source.name, net.constant([2])), weight, *net.bias(rows), pads=[0, 1, 1] * 2
    )
    net.new(net.op("Squeeze", deep, net.constant([2])), 3, source.size)


@block
def two_steps(net: Network, source: Map) -> None:
    """A grid of channels: added to along one of its axes, scaled along the other."""
    if source.channels % 2 or source.channels < 4:
        return
    half = source.channels // 2
    apart = net.op("Reshape", source.name, net.sizes(source.name, 0, 2, half, "H", "W"))
    one, two = net.rng.standard_normal((2, 1, 1, 1)), net.rng.standard_normal((half, 1, 1))
    one[net.dead(2)] = 0
    two[net.dead(half)] = 0
    summed = net.op("Mul", net.op("Mul", apart, net.constant(one)), net.constant(two))
    axis = [1, 2][net.rng.integers(2)]
    if net.chance(0.4):
        summed = net.op("ReduceSum", summed, net.constant([axis]), keepdims=0)
        net.new(summed, half if axis == 1 else 2, source.size)
    else:
        net.new(
            net.op("Reshape", summed, net.sizes(source.name, 0, source.channels, "H", "W")),
            source.channels,
            source.size,
        )
