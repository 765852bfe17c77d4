"""Quantised models: integers and their scales are sliced together, and the model stays quantised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from models import Array, Weights, build, feeds, ops, shrunk, widths
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime import quantization

import graph
from graph.candidates.classes import classes

PAD = "pads=[1,1,1,1]"
NET = (
    "(float[N,3,8,8] x) => (float[N,5] y) {{ a = Conv<{pad}>(x, w1, b1) r = Relu(a) c = Conv<{pad}{group}>(r, w2, b2)"
    " s = Relu(c) p = MaxPool<kernel_shape=[2,2]>(s) d = Conv<{pad}>(p, w3, b3) t = Add(d, p) g = GlobalAveragePool(t)"
    " f = Flatten(g) y = Gemm<transB=1>(f, w4, b4) }}"
)


class Calibration(quantization.CalibrationDataReader):
    """Three batches of noise."""

    def __init__(self, model: ModelProto) -> None:
        self.batches = iter([feeds(model, seed=seed) for seed in range(3)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


def quantised(model: ModelProto, folder: Path, kinds: str = "S8S8", *, per_channel: bool = True) -> ModelProto:
    """The model as onnxruntime's own tool quantises it: activations and weights of ``kinds``."""
    types = {"S8": quantization.QuantType.QInt8, "U8": quantization.QuantType.QUInt8}
    onnx.save(model, folder / "model.onnx")
    quantization.quantize_static(
        folder / "model.onnx",
        folder / "int8.onnx",
        Calibration(model),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=types[kinds[:2]],
        weight_type=types[kinds[2:]],
    )
    return onnx.load(folder / "int8.onnx")


def network(w: Weights, group: int = 1) -> ModelProto:
    """A residual network: the first convolution has three dead channels, the residual stream two."""
    bias = w(8, zero=(0, 3, 6))
    rows = 8 if group == 1 else 8 // group
    return build(
        NET.format(pad=PAD, group=f", group={group}" if group > 1 else ""),
        opset=17, w1=w(8, 3, 3, 3, zero=(0, 3, 6)), b1=bias, w2=w(6 if group == 1 else 8, rows, 3, 3, zero=(1, 4)),
        b2=w(6 if group == 1 else 8, zero=(1, 4)), w3=w(6, 6, 3, 3, zero=(1, 4)), b3=w(6, zero=(1, 4)),
        w4=w(5, 6), b4=w(5),
    )  # fmt: skip


def stored(model: ModelProto) -> dict[tuple[int, ...], str]:
    """Data type by shape of what a model stores of more than one axis."""
    arrays = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return {array.shape: array.dtype.name for array in arrays if array.ndim > 1}


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kinds", ["S8S8", "U8S8", "U8U8"])
def test_a_quantised_network_stays_quantised(per_channel: bool, kinds: str, tmp_path: Path) -> None:
    model = quantised(network(Weights()), tmp_path, kinds, per_channel=per_channel)
    slim, _ = shrunk(model)
    kind = "int8" if kinds.endswith("S8") else "uint8"
    assert stored(slim) == {(5, 3, 3, 3): kind, (4, 5, 3, 3): kind, (4, 4, 3, 3): kind, (5, 4): kind}
    assert ops(slim) == ops(model)
    scales = [numpy_helper.to_array(each) for each in slim.graph.initializer if each.name.endswith("_scale")]
    assert max(scale.size for scale in scales) <= 5


@pytest.mark.parametrize("group", [2, 8])
def test_groups(group: int, tmp_path: Path) -> None:
    """Two groups lose a channel each, the third is lost on both sides of a depthwise convolution."""
    w = Weights()
    dead = (0, 3, 4, 7) if group == 2 else (0, 3, 6)
    model = build(
        f"(float[N,3,8,8] x) => (float[N,2,8,8] y) {{ a = Conv<{PAD}>(x, w1, b1) r = Relu(a)"
        f" c = Conv<{PAD}, group={group}>(r, w2, b2) s = Relu(c) y = Conv(s, w3, b3) }}",
        opset=17, w1=w(8, 3, 3, 3, zero=dead), b1=w(8, zero=dead), w2=w(8, 8 // group, 3, 3),
        b2=w(8, zero=dead) * (group > 2), w3=w(2, 8, 1, 1), b3=w(2),
    )  # fmt: skip
    slim, _ = shrunk(quantised(model, tmp_path))
    if group == 2:
        assert stored(slim) == {(4, 3, 3, 3): "int8", (8, 2, 3, 3): "int8", (2, 8, 1, 1): "int8"}
    else:
        assert stored(slim) == {(5, 3, 3, 3): "int8", (5, 1, 3, 3): "int8", (2, 5, 1, 1): "int8"}


@pytest.mark.parametrize(("scale", "left"), [(np.array(0.25, np.float32), 2), (np.array([1, 2, 3], np.float32), 3)])
def test_groups_share_the_scales_of_a_transposed_convolution(scale: Array, left: int) -> None:
    """Each would have to lose another of them."""
    w = Weights()
    model = build(
        "(float[N,3,8,8] x) => (float[N,2,16,16] y) { a = Conv(x, w1) d = DequantizeLinear<axis=1>(q, s)"
        " c = ConvTranspose<group=2, strides=[2,2]>(a, d) y = Conv(c, w3) }",
        w1=w(4, 3, 1, 1), s=scale, q=w.rng.integers(-8, 8, (4, 3, 2, 2)).astype(np.int8),
        w3=w(2, 6, 1, 1, zero=(0, 5), axis=1),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["q"] == (4, left, 2, 2)


@pytest.mark.parametrize("kinds", ["S8S8", "U8U8"])
def test_pruning_writes_zero_points(kinds: str, tmp_path: Path) -> None:
    model = quantised(network(Weights()), tmp_path, kinds, per_channel=False)
    found = classes(graph.analyse(model))
    chosen = np.arange(len(found)) % 3 == 0
    slim, _ = shrunk(found.zeroed(chosen))
    assert sum(shape[0] for shape in stored(slim)) < sum(shape[0] for shape in stored(model))
    assert set(stored(slim).values()) == set(stored(model).values())


def test_nothing_is_added_to_a_quantised_constant(tmp_path: Path) -> None:
    """A constant channel would have to go into a bias of integers; one that is not read goes."""
    w = Weights()
    bias = w(6)
    bias[[1, 2]] = 0.5, 2
    model = build(
        f"(float[N,3,8,8] x) => (float[N,2,8,8] y) {{ a = Conv<{PAD}>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2) }}",
        opset=17, w1=w(6, 3, 3, 3, zero=(1, 2)), b1=bias, w2=w(2, 6, 1, 1, zero=(2, 5), axis=1), b2=w(2),
    )  # fmt: skip
    assert stored(shrunk(quantised(model, tmp_path))[0]) == {(4, 3, 3, 3): "int8", (2, 4, 1, 1): "int8"}


LINEAR = "(float[N,5,4] x) => (float[N,5,p] y) { a = MatMul(x, w1) r = Relu(a)"
HALF = np.array(0.25, np.float32)


def integers(w: Weights, *shape: int, zero: tuple[int, ...] = (), point: int = 0) -> Array:
    """int8 in -8 ... 7, or the zero point in the columns ``zero``."""
    array = w.rng.integers(-8, 8, shape).astype(np.int8)
    array[..., list(zero)] = point
    return array


def test_transposed_and_declared() -> None:
    """The weight of a linear layer, [out, in] with a scale per output, between declared shapes."""
    w = Weights()
    model = build(
        LINEAR + " d = DequantizeLinear<axis=0>(q, s, z) t = Transpose(d) y = MatMul(r, t) }",
        w1=w(4, 6, zero=(1, 2), axis=1), q=integers(w, 3, 6), s=np.array([0.5, 0.25, 1], np.float32),
        z=np.array([0, 1, 2], np.int8),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (4, 4), "q": (3, 4), "s": (3,), "z": (3,)}
    assert ops(slim) == ops(model)


def test_float_weights_between_quantise_and_dequantise() -> None:
    """As they are in quantisation-aware training."""
    w = Weights()
    model = build(
        "(float[N,5,4] x) => (float[N,5,p] y) { q1 = QuantizeLinear<axis=1>(w1, s, z)"
        " d1 = DequantizeLinear<axis=1>(q1, s, z) a = MatMul(x, d1) r = Relu(a)"
        " q2 = QuantizeLinear(w2, h) d2 = DequantizeLinear(q2, h) y = MatMul(r, d2) }",
        w1=w(4, 6, zero=(1, 2), axis=1), w2=w(6, 3), s=w.rng.uniform(0.1, 0.2, 6).astype(np.float32),
        z=np.arange(6, dtype=np.int8), h=HALF,
    )  # fmt: skip
    slim, _ = shrunk(model)
    found = widths(slim)
    assert (found["w1"], found["w2"]) == ((4, 4), (4, 3))
    assert all(shape in ((), (4,)) for name, shape in found.items() if name[0] in "szh")
    assert ops(slim) == ops(model)
    offered = classes(graph.analyse(model))
    assert len(offered) == 6
    assert widths(shrunk(offered.zeroed(np.arange(6) < 3))[0])["w1"] == (4, 3)


def test_blocks_stay_together() -> None:
    """Inputs share scales in blocks of two, outputs do not."""
    w = Weights()
    model = build(
        LINEAR + " d = DequantizeLinear<axis=0, block_size=2>(q, s) b = MatMul(r, d) y = MatMul(b, w3) }",
        opset=21, w1=w(4, 6, zero=(1, 2), axis=1), q=integers(w, 6, 4, zero=(3,)), w3=w(4, 3),
        s=w.rng.uniform(0.1, 0.2, (3, 4)).astype(np.float32),
    )  # fmt: skip
    assert widths(shrunk(model)[0]) == {"w1": (4, 6), "q": (6, 3), "s": (3, 3), "w3": (3, 3)}


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT8E4M3FN, TensorProto.INT16])
def test_other_types(kind: int) -> None:
    w = Weights()
    model = build(
        LINEAR + " d = DequantizeLinear<axis=1>(q, s) b = MatMul(r, d) y = MatMul(b, w3) }",
        opset=21, w1=w(4, 6, zero=(1, 2), axis=1), s=w.rng.uniform(0.1, 0.2, 4).astype(np.float32), w3=w(4, 3),
        q=np.abs(integers(w, 6, 4, zero=(3,))).astype(helper.tensor_dtype_to_np_dtype(kind)),
    )  # fmt: skip
    slim, _ = shrunk(model)
    assert widths(slim) == {"w1": (4, 4), "q": (4, 3), "s": (3,), "w3": (3, 3)}
    assert next(each for each in slim.graph.initializer if each.name == "q").data_type == kind


def test_a_shared_weight_is_sliced_as_floats() -> None:
    w = Weights()
    model = build(
        LINEAR + " a2 = MatMul(x, w3) r2 = Relu(a2) d = DequantizeLinear(q, h) b = MatMul(r, d) c = MatMul(r2, d)"
        " y = Add(b, c) }",
        w1=w(4, 6, zero=(1, 2), axis=1), w3=w(4, 6, zero=(3,), axis=1), q=integers(w, 6, 3), h=HALF,
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w3"]) == ((4, 4), (4, 5))


@pytest.mark.parametrize(
    ("scale", "left"), [(HALF, 4), (np.array([1, 2, 0.5, 0.25, 1, 2], np.float32), 4), (np.ones((5, 3), np.float32), 6)]
)
def test_activations(scale: Array, left: int) -> None:
    """One scale for all, one per channel, one per two channels of every token."""
    w = Weights()
    block = ", block_size=2" if scale.ndim == 2 else ""
    model = build(
        "(float[5,4] x) => (float[5,p] y) { a = MatMul(x, w1) r = Relu(a)"
        f" q = QuantizeLinear<axis=-1{block}>(r, s, z) d = DequantizeLinear<axis=-1{block}>(q, s, z)"
        " y = MatMul(d, w2) }",
        opset=21, w1=w(4, 6, zero=(1, 2), axis=1), w2=w(6, 3), s=scale, z=np.full(scale.shape, 3, np.uint8),
    )  # fmt: skip
    found = widths(shrunk(model)[0])
    assert (found["w1"], found["w2"]) == ((4, left), (left, 3))


def test_integers_in_between() -> None:
    w = Weights()
    model = build(
        "(float[N,3,8,8] x) => (float[N,2,6,6] y) { a = Conv(x, w1) r = Relu(a) q = QuantizeLinear(r, h, z)"
        " m = MaxPool<kernel_shape=[3,3]>(q) t = Transpose<perm=[0,2,3,1]>(m) u = Transpose<perm=[0,3,1,2]>(t)"
        " d = DequantizeLinear(u, h, z) y = Conv(d, w2) }",
        w1=w(6, 3, 1, 1, zero=(1, 2)), w2=w(2, 6, 1, 1), h=HALF, z=np.array(7, np.uint8),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"][0] == 4


def test_dynamic_quantisation_freezes() -> None:
    w = Weights()
    model = build(
        LINEAR + " q, s, z = DynamicQuantizeLinear(r) m = MatMulInteger(q, i, z) f = Cast<to=1>(m) y = Mul(f, s) }",
        w1=w(4, 6, zero=(1, 2), axis=1), i=integers(w, 6, 3),
    )  # fmt: skip
    assert widths(shrunk(model)[0])["w1"] == (4, 6)
