"""The unit matrix: a convolution with dead channels, one op, and a convolution that reads it.

Every case is written once and built twice: with all channels, and with only those that must stay, which gives the
number of parameters to reach. Half of the channels between the first and the last convolution are dead: they carry
zero, or a constant where the case is about constants.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from tests.benchmarks.rivals.judge import Array, parameters

WIDTH, OUT = 16, 8
Indices = NDArray[np.int64]


class Net:
    """Weights of a case, with only the channels ``keep`` of the tensor in the middle."""

    def __init__(self, keep: Indices) -> None:
        self.keep = keep
        self.width = len(keep)
        self.tensors: dict[str, NDArray[np.generic]] = {}

    def weight(self, name: str, *shape: int, out: Indices | None = None, into: Indices | None = None) -> Array:
        """A random weight of the full ``shape``, of which rows ``out`` and columns ``into`` are stored."""
        rng = np.random.default_rng(sum(map(ord, name)))
        full = rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(max(np.prod(shape[1:]), 1)))
        full = full if out is None else full[out]
        self.tensors[name] = np.ascontiguousarray(full if into is None else full[:, into])
        return self.tensors[name]

    def off(self, name: str, dead: Indices, *, axis: int = 0) -> None:
        """Zeros in these channels, by their numbers in the full tensor."""
        np.moveaxis(self.tensors[name], axis, 0)[np.isin(self.keep, dead)] = 0

    def model(self, body: str, inputs: str = "float[N,3,12,12] x") -> onnx.ModelProto:
        """The model whose nodes are ``body`` and whose output is y (or y and z)."""
        outputs = "float[N,K,H,W] y" + (", float[N,K2,H2,W2] z" if " z = " in body else "")
        header = '<ir_version: 10, opset_import: ["": 20]>'
        model = parser.parse_model(f"{header} g ({inputs}) => ({outputs}) {{ {body} }}")
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in self.tensors.items())
        return model


ALL = np.arange(WIDTH)
HALF = np.arange(WIDTH // 2, WIDTH)  # the second half is off
Case = Callable[[Net], onnx.ModelProto]

#: name -> (builder, channels that an ideal tool leaves)
CASES: dict[str, tuple[Case, Indices]] = {}


def case(name: str, off: Indices = HALF, leave: Indices | None = None) -> Callable[[Case], Case]:
    """Decorator that files a builder; ``leave`` is what must stay, all but ``off`` by default."""

    def file(builder: Case) -> Case:
        CASES[name] = builder, np.setdiff1d(ALL, off) if leave is None else leave
        return builder

    return file


def first(net: Net, off: Indices = HALF, *, bias: bool = False) -> None:
    """Weights of the first convolution, ``off`` zeroed, with a bias that is not zero if ``bias``."""
    net.weight("w", WIDTH, 3, 3, 3, out=net.keep)
    net.weight("b", WIDTH, out=net.keep)
    net.off("w", off)
    if not bias:
        net.off("b", off)


def between(op: str, *, constant: bool = False, pads: int = 0, **tensors: Array) -> Case:
    """Conv -> ``op`` from c to a -> Conv."""

    def build(net: Net) -> onnx.ModelProto:
        first(net, bias=constant)
        net.weight("v", OUT, WIDTH, 3, 3, into=net.keep)
        net.weight("k", OUT)
        net.tensors |= {name: np.asarray(value) for name, value in tensors.items()}
        return net.model(f"c = Conv(x, w, b) {op} y = Conv<pads=[{pads},{pads},{pads},{pads}]>(a, v, k)")

    return build


def scalar(value: float) -> Array:
    """A rank-0 tensor."""
    return np.asarray(value, np.float32)


for _name, _op in {
    "Relu": "a = Relu(c)",
    "Sigmoid": "a = Sigmoid(c)",
    "HardSigmoid": "a = HardSigmoid(c)",
    "Softplus": "a = Softplus(c)",
    "Cos": "a = Cos(c)",
}.items():
    case(_name)(between(_op))

case("Softmax over channels", leave=ALL)(between("a = Softmax<axis=1>(c)"))
case("Clip, min 0.5")(between("a = Clip(c, low, high)", low=scalar(0.5), high=scalar(6)))
ONE_STAYS = np.arange(WIDTH // 2 + 1)  # one channel that carries what all dead ones had
FRAME = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
TWICE = np.array([1, 1, 2, 2], np.float32)
# 1 in the frame and 0 inside is no constant, but it is the same image in every dead channel
case("Pad with 1", leave=ONE_STAYS)(between("a = Pad(c, widths, one)", widths=FRAME, one=scalar(1)))
case("Resize")(between('a = Resize<mode="nearest">(c, , scales)', scales=TWICE))
case("constant channel")(between("a = Relu(c)", constant=True))
case("constant channel, padded reader", leave=ONE_STAYS)(between("a = Relu(c)", constant=True, pads=1))
case("Sigmoid, padded reader", leave=ONE_STAYS)(between("a = Sigmoid(c)", pads=1))


@case("PRelu")
def prelu(net: Net) -> onnx.ModelProto:
    """A slope per channel."""
    first(net)
    net.weight("slope", WIDTH, 1, 1, out=net.keep)
    net.weight("v", OUT, WIDTH, 3, 3, into=net.keep)
    return net.model("c = Conv(x, w, b) a = PRelu(c, slope) y = Conv(a, v)")


@case("one-sided residual")
def one_sided(net: Net) -> onnx.ModelProto:
    """Only one of the two convolutions that are added has dead outputs: its rows may go, nothing else."""
    first(net)
    net.weight("w2", WIDTH, 3, 3, 3)
    net.weight("v", OUT, WIDTH, 3, 3)
    if net.width == WIDTH:
        return net.model("c = Conv(x, w, b) d = Conv(x, w2) s = Add(c, d) a = Relu(s) y = Conv(a, v)")
    return net.model("c = Conv(x, w, b) d = Conv(x, w2) a = Relu(d) y = Conv(a, v)")  # counted only


SLICED = np.array([4, 5, 6, 7, 12, 13, 14, 15])


@case("Slice", SLICED)
def slices(net: Net) -> onnx.ModelProto:
    """Two halves, each with its own reader."""
    first(net, SLICED)
    edge = int((net.keep < WIDTH // 2).sum())
    net.tensors |= {
        name: np.array([value], np.int64)
        for name, value in {"start": 0, "middle": edge, "end": net.width, "axis": 1}.items()
    }
    net.weight("v", OUT, 8, 3, 3, into=net.keep[:edge])
    net.weight("u", OUT, 8, 3, 3, into=net.keep[edge:] - 8)
    return net.model(
        "c = Conv(x, w, b) a = Relu(c) l = Slice(a, start, middle, axis) r = Slice(a, middle, end, axis) "
        "p = Conv(l, v) q = Conv(r, u) y = Add(p, q)"
    )


@case("grouped Conv, balanced", SLICED)
def grouped(net: Net) -> onnx.ModelProto:
    """Two groups; each loses half of its inputs and of its outputs."""
    first(net, SLICED)
    columns = net.keep[net.keep < 8]
    net.weight("g", WIDTH, 8, 3, 3, out=net.keep, into=columns)
    net.off("g", SLICED)
    net.weight("v", OUT, WIDTH, 3, 3, into=net.keep)
    return net.model("c = Conv(x, w, b) a = Relu(c) d = Conv<group=2>(a, g) e = Relu(d) y = Conv(e, v)")


@case("ConvTranspose")
def transposed(net: Net) -> onnx.ModelProto:
    """Its inputs are dead, its outputs are not."""
    first(net)
    net.weight("t", WIDTH, OUT, 3, 3, out=net.keep)
    net.weight("v", OUT, OUT, 3, 3)
    return net.model("c = Conv(x, w, b) a = Relu(c) d = ConvTranspose<strides=[2,2]>(a, t) y = Conv(d, v)")


DEPTH = np.array([2, 3, 6, 7, 10, 11, 14, 15])


@case("DepthToSpace", DEPTH)
def depth_to_space(net: Net) -> onnx.ModelProto:
    """All that makes channels 2 and 3 of the 4 outputs is dead."""
    first(net, DEPTH)
    net.weight("v", OUT, 4, 3, 3, into=net.keep[net.keep < 4])
    return net.model('c = Conv(x, w, b) a = DepthToSpace<blocksize=2, mode="DCR">(c) y = Conv(a, v)')


@case("channel shuffle", SLICED)
def shuffle(net: Net) -> onnx.ModelProto:
    """ShuffleNet's, with two groups that lose the same positions."""
    first(net, SLICED)
    half = net.width // 2
    net.tensors["split"] = np.array([0, 2, half, 10, 10], np.int64)
    net.tensors["join"] = np.array([0, net.width, 10, 10], np.int64)
    order = np.arange(WIDTH).reshape(2, 8).T.ravel()  # which channel comes to every place
    net.weight("v", OUT, WIDTH, 3, 3, into=np.flatnonzero(np.isin(order, net.keep)))
    return net.model(
        "c = Conv(x, w, b) s = Reshape(c, split) t = Transpose<perm=[0,2,1,3,4]>(s) a = Reshape(t, join) y = Conv(a, v)"
    )


@case("InstanceNorm, beta not 0")
def instance_norm(net: Net) -> onnx.ModelProto:
    """Zero in, beta out."""
    first(net)
    net.weight("scale", WIDTH, out=net.keep)
    net.weight("shift", WIDTH, out=net.keep)
    net.weight("k", OUT)
    net.weight("v", OUT, WIDTH, 3, 3, into=net.keep)
    return net.model("c = Conv(x, w, b) d = InstanceNormalization(c, scale, shift) a = Relu(d) y = Conv(a, v, k)")


@case("depthwise Conv, bias not 0")
def depthwise(net: Net) -> onnx.ModelProto:
    """Zero in, the bias out; padded, which does not matter for zeros."""
    first(net)
    net.weight("d", WIDTH, 1, 3, 3, out=net.keep)
    net.weight("e", WIDTH, out=net.keep)
    net.weight("k", OUT)
    net.weight("v", OUT, WIDTH, 3, 3, into=net.keep)
    return net.model(
        f"c = Conv(x, w, b) f = Conv<group={net.width}, pads=[1,1,1,1]>(c, d, e) a = Relu(f) y = Conv(a, v, k)"
    )


@case("shared weight")
def shared(net: Net) -> onnx.ModelProto:
    """The same two convolutions on the image and on its half-size copy."""
    first(net)
    net.weight("v", OUT, WIDTH, 3, 3, into=net.keep)
    return net.model(
        "c = Conv(x, w, b) a = Relu(c) y = Conv(a, v) "
        "h = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x) d = Conv(h, w, b) e = Relu(d) z = Conv(e, v)"
    )


@case("bias shared by two layers")
def shared_bias(net: Net) -> onnx.ModelProto:
    """Exporters merge equal tensors: a live layer uses the zeros that are the dead layer's bias."""
    first(net)
    net.tensors["b"] = np.zeros(WIDTH, np.float32)[: net.width]
    net.weight("v", WIDTH, WIDTH, 3, 3, into=net.keep)
    net.weight("u", OUT, WIDTH, 3, 3)
    last = "b"
    if net.width < WIDTH:
        last = "b2"
        net.tensors[last] = np.zeros(WIDTH, np.float32)
    return net.model(f"c = Conv(x, w, b) a = Relu(c) d = Conv(a, v, {last}) e = Relu(d) y = Conv(e, u)")


@case("dead columns of the reader")
def dead_columns(net: Net) -> onnx.ModelProto:
    """Live channels that nobody reads."""
    net.weight("w", WIDTH, 3, 3, 3, out=net.keep)
    net.weight("b", WIDTH, out=net.keep)
    net.weight("v", OUT, WIDTH, 3, 3, into=net.keep)
    net.off("v", HALF, axis=1)
    return net.model("c = Conv(x, w, b) a = Relu(c) y = Conv(a, v)")


@case("channels of an output", leave=ALL)
def output(net: Net) -> onnx.ModelProto:
    """Nothing may go: the caller sees them."""
    first(net)
    return net.model("c = Conv(x, w, b) y = Relu(c)")


def write(folder: Path) -> dict[str, tuple[Path, int]]:
    """Save every case; returns the file and the number of parameters to reach."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for number, (name, (builder, leave)) in enumerate(CASES.items()):
        path = folder / f"{number:02d}.onnx"
        onnx.save(builder(Net(ALL)), path)
        written[name] = path, parameters(builder(Net(leave)))
    return written
