"""Blocks of ops that are met less often: pixels and channels exchanged, normalisations, int8 weights, bodies."""

from __future__ import annotations

import numpy as np
from blocks import SMALL, block
from networks import Map, Network
from onnx import ValueInfoProto, helper, numpy_helper
from token_blocks import linear, tokens, untoken


@block
def grouped_transpose(net: Network, source: Map) -> None:
    if source.channels % 2 or source.size > SMALL:
        return
    weight, rows = net.weight(source.channels, 3, 2, 2, out=1, into=0)
    name = net.op("ConvTranspose", source.name, weight, *net.bias(np.tile(rows, 2)), strides=[2, 2], group=2)
    net.new(name, 6, 2 * source.size)


@block
def depth_to_space(net: Network, source: Map) -> None:
    if source.size > SMALL:
        return
    wide = source if source.channels % 4 == 0 else net.conv(source, 4 * int(net.rng.integers(1, 4)), 1)
    mode = str(net.rng.choice(["DCR", "CRD"]))
    net.new(net.op("DepthToSpace", wide.name, blocksize=2, mode=mode), wide.channels // 4, 2 * wide.size)


@block
def space_to_depth(net: Network, source: Map) -> None:
    if source.size % 2 == 0 and source.channels < 6:
        net.new(net.op("SpaceToDepth", source.name, blocksize=2), 4 * source.channels, source.size // 2)


@block
def instance_norm(net: Network, source: Map) -> None:
    scale, shift = net.rng.standard_normal((2, source.channels))
    dead = net.dead(source.channels)
    scale[dead] = 0
    shift[dead & (net.rng.random(dead.size) < 0.6)] = 0
    name = net.op("InstanceNormalization", source.name, net.constant(scale), net.constant(shift), epsilon=0.1)
    net.new(name, source.channels, source.size)


@block
def group_norm(net: Network, source: Map) -> None:
    """As torch exports it: normalised in one piece per group, then scaled."""
    groups = next((count for count in (3, 2, 1) if source.channels % count == 0), 1)
    apart = net.op("Reshape", source.name, net.constant([0, groups, -1]))
    ones, zeros = net.constant(np.ones(groups)), net.constant(np.zeros(groups))
    normed = net.op("InstanceNormalization", apart, ones, zeros, epsilon=0.1)
    joined = net.op("Reshape", normed, net.sizes(source.name, 0, source.channels, "H", "W"))
    scale, shift = net.rng.standard_normal((2, source.channels, 1, 1))
    scale[net.dead(source.channels)] = 0
    net.new(
        net.op("Add", net.op("Mul", joined, net.constant(scale)), net.constant(shift)), source.channels, source.size
    )


@block
def softmax(net: Network, source: Map) -> None:
    """Over channels or over columns."""
    net.new(net.op("Softmax", source.name, axis=int(net.rng.choice([1, 3]))), source.channels, source.size)


@block
def pooled_channels(net: Network, source: Map) -> None:
    """A weight per pixel from all channels, without a convolution."""
    kind = str(net.rng.choice(["ReduceMax", "ReduceMean", "ReduceL2", "ReduceLogSumExp", "ReduceSum", "ReduceMin"]))
    gate = net.op("Sigmoid", net.op(kind, source.name, net.constant([1]), keepdims=1))
    net.new(net.op("Mul", source.name, gate), source.channels, source.size)


@block
def int8_conv(net: Network, source: Map) -> None:
    """Weights in eight bits, with one scale for all or one per output channel."""
    channels = int(net.rng.integers(2, 7))
    weight = net.rng.integers(-100, 100, (channels, source.channels, 1, 1)).astype(np.int8)
    rows = net.dead(channels)
    weight[rows] = 0
    each = net.chance(0.6)
    scale = net.rng.uniform(0.01, 0.02, channels if each else ())
    zero = np.zeros(channels if each else (), np.int8)
    slots = [net.constant(weight), net.constant(scale), net.constant(zero)]
    decoded = net.op("DequantizeLinear", *slots, **({"axis": 0} if each else {}))
    net.new(net.op("Conv", source.name, decoded, *net.bias(rows)), channels, source.size)


@block
def branches(net: Network, source: Map) -> None:
    """An If on the input's sign: one side convolves, the other only scales."""
    total = net.op("ReduceSum", "x", keepdims=0)
    condition = net.op("Greater", total, net.constant(0.0))
    weight, rows = net.weight(source.channels, source.channels, 1, 1)
    bias, half = net.bias(rows), net.constant(0.5)
    name = f"body{len(net.nodes)}"
    nodes = [
        helper.make_node("Conv", [source.name, weight, *bias], [f"{name}_conv"]),
        helper.make_node("Relu", [f"{name}_conv"], [f"{name}_then"]),
    ]
    then = helper.make_graph(nodes, f"{name}_then", [], [like(source, f"{name}_then")])
    if net.chance(0.5):  # else the weight stays outside
        then.initializer.append(numpy_helper.from_array(net.weights[weight].astype(np.float32), f"{name}_weight"))
        then.node[0].input[1] = f"{name}_weight"
    nodes = [helper.make_node("Mul", [source.name, half], [f"{name}_else"])]
    other = helper.make_graph(nodes, f"{name}_else", [], [like(source, f"{name}_else")])
    net.new(net.op("If", condition, then_branch=then, else_branch=other), source.channels, source.size)


def like(source: Map, name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, 1, [None, source.channels, None, None])


@block
def loop(net: Network, source: Map) -> None:
    """Twice the same convolution."""
    weight, rows = net.weight(source.channels, source.channels, 1, 1)
    name = f"loop{len(net.nodes)}"
    turn, go, on, entry, out = (f"{name}_{what}" for what in ("turn", "go", "on", "in", "out"))
    nodes = [
        helper.make_node("Conv", [entry, weight, *net.bias(rows)], [f"{name}_conv"]),
        helper.make_node("Tanh", [f"{name}_conv"], [out]),
        helper.make_node("Identity", [go], [on]),
    ]
    inputs = [helper.make_tensor_value_info(turn, 7, []), helper.make_tensor_value_info(go, 9, []), like(source, entry)]
    body = helper.make_graph(nodes, name, inputs, [helper.make_tensor_value_info(on, 9, []), like(source, out)])
    found = net.op("Loop", net.constant(np.array(2)), net.constant(np.array(True)), source.name, body=body)
    net.new(found, source.channels, source.size)


@block
def einsum(net: Network, source: Map) -> None:
    weight, _ = net.weight(4, source.channels)
    kind = net.rng.integers(3)
    if kind == 0:
        net.new(net.op("Einsum", source.name, weight, equation="nchw,oc->nohw"), 4, source.size)
    elif kind == 1:  # a gate from the products of two maps
        other = net.alike(source)
        gate = net.op("Einsum", source.name, other.name, equation="nchw,nchw->nc")
        wide = net.op("Unsqueeze", net.op("Tanh", gate), net.constant([2, 3]))
        net.new(net.op("Mul", source.name, wide), source.channels, source.size)
    else:
        net.new(net.op("Einsum", source.name, equation="ncij->ncji"), source.channels, source.size)


@block
def embedding(net: Network, source: Map) -> None:
    """A row of a table for every pixel of the input."""
    table, _ = net.weight(10, 6, out=1, into=None)
    pixel = net.op("Slice", "x", net.constant([0]), net.constant([1]), net.constant([1]))
    scaled = net.op("Add", net.op("Mul", pixel, net.constant(2.0)), net.constant(5.0))
    index = net.op("Cast", net.op("Clip", scaled, net.constant(0.0), net.constant(9.0)), to=7)
    rows = net.op("Gather", table, net.op("Squeeze", index, net.constant([1])))
    net.new(net.op("Transpose", rows, perm=[0, 3, 1, 2]), 6, net.maps[0].size)


@block
def recurrent(net: Network, source: Map) -> None:
    """A row of cells over all pixels."""
    if source.size > 4:
        return
    kind, gates = [("LSTM", 4), ("GRU", 3), ("RNN", 1)][net.rng.integers(3)]
    units, both = int(net.rng.integers(2, 5)), net.chance(0.3)
    ways = 1 + both
    into, back = (net.rng.standard_normal((ways, gates * units, size)) / 3 for size in (source.channels, units))
    bias = net.rng.standard_normal((ways, 2 * gates * units))
    into[:, :, net.dead(source.channels)] = 0
    dead = net.dead(units) & (not both)  # a cell of which nothing comes in or out
    for array in (into, back, bias):
        array.reshape(ways, -1, units, *array.shape[2:])[:, :, dead] = 0
    sequence = net.op("Transpose", tokens(net, source), perm=[1, 0, 2])
    slots = [sequence, *map(net.constant, (into, back)), *([net.constant(bias)] if net.chance(0.7) else [])]
    direction = "bidirectional" if both else str(net.rng.choice(["forward", "reverse"]))
    found = net.op(kind, *slots, hidden_size=units, direction=direction)
    turned = net.op("Transpose", found, perm=[2, 0, 1, 3])  # [N, T, ways, units]
    joined = net.op("Reshape", turned, net.constant([0, 0, -1]))
    untoken(net, joined, ways * units, source)


@block
def attention_op(net: Network, source: Map) -> None:
    if source.size > SMALL:
        return
    heads, shared = int(net.rng.integers(1, 4)), net.chance(0.3)
    width, groups = int(net.rng.integers(1, 4)), 1 if shared else heads
    entry = tokens(net, source)
    query = linear(net, entry, source.channels, heads * width)
    others = [linear(net, entry, source.channels, groups * width) for _ in range(2)]
    mixed = net.op("Attention", query, *others, q_num_heads=heads, kv_num_heads=groups)
    untoken(net, linear(net, mixed, heads * width, source.channels), source.channels, source)


@block
def rms_norm(net: Network, source: Map) -> None:
    scale = net.rng.standard_normal(source.channels)
    scale[net.dead(source.channels)] = 0
    normed = net.op("RMSNormalization", tokens(net, source), net.constant(scale), axis=-1, epsilon=0.1)
    untoken(net, linear(net, normed, source.channels, 5), 5, source)
