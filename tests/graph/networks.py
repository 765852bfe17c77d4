"""Random networks, put together from a list of (block, seed), so that a failure shrinks to few blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from models import Array
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

SIZE = 8  # height and width of the input


@dataclass(frozen=True)
class Map:
    """A feature map [N, channels, height, width]; square."""

    name: str
    channels: int
    size: int


class Network:
    """Nodes, weights and the maps that a block may read."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dynamic = self.chance(0.25)  # height and width are open, too, and sizes are computed
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.maps: list[Map] = [Map("x", 3, SIZE)]

    # -- pieces

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """Add a node; the name of its first output."""
        names = [f"{kind.lower()}{len(self.nodes)}{'abcd'[place] if place else ''}" for place in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names[0]

    def constant(self, value: Array | Sequence[int] | float) -> str:
        array = np.asarray(value)
        name = f"c{len(self.weights)}"
        self.weights[name] = array.astype(np.float32) if array.dtype == np.float64 else array
        return name

    def sizes(self, like: str, *sizes: int | str) -> str:
        """A shape, constant or not: "H", "W" and "HW" are those of the map ``like``."""
        known = {"H": 2, "W": 3}
        if not self.dynamic:
            (size,) = {entry.size for entry in self.maps if entry.name == like}
            return self.constant([{"H": size, "W": size, "HW": size**2}.get(str(each), each) for each in sizes])
        shape = self.op("Shape", like)

        def part(size: int | str) -> str:
            if isinstance(size, int):
                return self.constant([size])
            places = [self.op("Gather", shape, self.constant([known[letter]])) for letter in size]
            return places[0] if len(places) == 1 else self.op("Mul", *places)

        return self.op("Concat", *map(part, sizes), axis=0)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def dead(self, size: int) -> Array:
        """Which of ``size`` channels are dead: none, some, or rarely all."""
        share = self.rng.choice([0, 0, 0.3, 0.6, 1], p=[0.2, 0.1, 0.4, 0.25, 0.05])
        return self.rng.random(size) < share

    def weight(self, *shape: int, out: int = 0, into: int | None = 1) -> tuple[str, Array]:
        """A weight with zero rows and sometimes zero columns; its name and the dead rows."""
        array = self.rng.standard_normal(shape) / np.sqrt(max(np.prod(shape) / shape[out], 1))
        rows = self.dead(shape[out])
        np.moveaxis(array, out, 0)[rows] = 0
        if into is not None and self.chance(0.3):
            np.moveaxis(array, into, 0)[self.dead(shape[into])] = 0
        return self.constant(array), rows

    def bias(self, rows: Array) -> list[str]:
        """No bias, or one that is often zero in dead rows."""
        if self.chance(0.4):
            return []
        bias = self.rng.standard_normal(rows.size)
        bias[rows & (self.rng.random(rows.size) < 0.6)] = 0
        return [self.constant(bias)]

    def conv(self, source: Map, channels: int, kernel: int = 1, pad: int = 0, **attributes: object) -> Map:
        weight, rows = self.weight(channels, source.channels, kernel, kernel)
        name = self.op("Conv", source.name, weight, *self.bias(rows), pads=[pad] * 4, **attributes)
        stride = attributes.get("strides", [1])[0]  # type: ignore[index]
        return Map(name, channels, (source.size + 2 * pad - kernel) // stride + 1)

    # -- maps

    def any(self, where: Callable[[Map], bool] = lambda _: True) -> Map | None:
        """A map to read: mostly the latest; never the bare input once there is anything else."""
        fit = [entry for entry in self.maps[1:] or self.maps if where(entry)]
        if not fit:
            return None
        return fit[-1] if self.chance(0.6) else fit[self.rng.integers(len(fit))]

    def new(self, name: str, channels: int, size: int) -> None:
        self.maps.append(Map(name, channels, size))

    def alike(self, source: Map) -> Map:
        """Another map of the same shape, or one made for the purpose."""
        other = self.any(lambda entry: (entry.channels, entry.size) == (source.channels, source.size))
        if other is not None and other != source:
            return other
        same = self.any(lambda entry: entry.size == source.size)
        assert same is not None
        return self.conv(same, source.channels, 3, 1)


def network(seed: int, blocks: Sequence[tuple[Callable[[Network, Map], None], int]]) -> ModelProto:
    """The model of a list of blocks, each with the seed of everything random in it."""
    net = Network(seed)
    net.maps.append(net.conv(net.maps[0], int(net.rng.integers(2, 9)), 3, 1))
    for block, own in blocks:
        net.rng = np.random.default_rng([seed, own])
        source = net.any()
        assert source is not None
        block(net, source)
    net.rng = np.random.default_rng([seed, 0])
    last = net.maps[-1]
    outputs = [finish(net, last)]
    if net.chance(0.2):  # a second head somewhere
        outputs.append(finish(net, net.maps[net.rng.integers(1, len(net.maps))]))
    return pack(net, {net.op("Identity", name): rank for name, rank in outputs})


def finish(net: Network, source: Map) -> tuple[str, int]:
    """A head: the name and the rank of what it returns."""
    kind = net.rng.integers(4)
    if kind == 0:
        return net.conv(source, 2, 1).name, 4
    if kind == 1:
        return net.conv(source, 2, 3, 1).name, 4
    if kind == 2 and not net.dynamic:
        weight, rows = net.weight(5, source.channels * source.size**2)
        return net.op("Gemm", net.op("Flatten", source.name), weight, *net.bias(rows), transB=1), 2
    pooled = net.op("Flatten", net.op("GlobalAveragePool", source.name))
    weight, rows = net.weight(source.channels, 5, out=1, into=0)
    return net.op("Gemm", pooled, weight, *net.bias(rows)), 2


def pack(net: Network, outputs: Mapping[str, int]) -> ModelProto:
    size = ("H", "W") if net.dynamic else (SIZE, SIZE)
    graph = helper.make_graph(
        net.nodes,
        "random",
        [helper.make_tensor_value_info("x", 1, ["N", 3, *size])],
        [helper.make_tensor_value_info(name, 1, [None] * rank) for name, rank in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in net.weights.items()],
    )
    opset, ir = (23, 11) if {node.op_type for node in net.nodes} & NEWEST else (20, 10)
    model = helper.make_model(graph, ir_version=ir, opset_imports=[helper.make_opsetid("", opset)])
    return shape_inference.infer_shapes(model, data_prop=True)


NEWEST = {"Attention", "RMSNormalization"}  # ops of opset 23
