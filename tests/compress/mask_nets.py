"""Small networks with everything that masks have to get through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from compress.prune.calibration import Calibration, fed
from compress.prune.masked import opened
from runtime import Settings

PAD = "pads = [1, 1, 1, 1]"
TEXTS = {
    "residual": f"""a = Conv<{PAD}>(x, w0, b0) s = Relu(a)
        c = Conv<{PAD}>(s, w1, b1) d = Relu(c) e = Conv<{PAD}>(d, w2, b2) f = Add(e, s) t = Relu(f)
        g = Conv<{PAD}>(t, w3, b3) h = Relu(g) i = Conv<{PAD}>(h, w4, b4) j = Add(t, i) u = Relu(j)
        p = GlobalAveragePool(u) q = Flatten(p) y = Gemm<transB = 1>(q, w5, b5)""",
    "depthwise": f"""a = Conv(x, w0, b0) c = Clip(a, zero, six) d = Conv<group = 8, {PAD}>(c, w1, b1)
        e = Clip(d, zero, six) f = Conv(e, w2) p = GlobalAveragePool(f) q = Flatten(p) y = Softmax(q)""",
    "squeeze-excite": f"""a = Conv<{PAD}>(x, w0, b0) s = Relu(a) p = GlobalAveragePool(s)
        c = Conv(p, w1, b1) d = Relu(c) e = Conv(d, w2, b2) g = Sigmoid(e) h = Mul(s, g)
        i = GlobalAveragePool(h) q = Flatten(i) y = Gemm<transB = 1>(q, w3, b3)""",
    "concat": f"""a = Conv<{PAD}>(x, w0, b0) r = Relu(a) c = Conv<{PAD}>(r, w1, b1) d = Sigmoid(c)
        e = Concat<axis = 1>(r, d) f = BatchNormalization(e, bg, bh, bm, bv) k = Relu(f) l = Conv(k, w2, b2)
        p = GlobalAveragePool(l) q = Flatten(p) y = Gemm<transB = 1>(q, w3, b3)""",
    "tokens": """s = Shape(x) n = Gather(s, i0) t = Concat<axis = 0>(n, tail) u = Reshape(x, t)
        a = MatMul(u, w0) c = Add(a, b0) k = MatMul(u, w1) l = Transpose<perm = [0, 2, 1]>(k) m = MatMul(c, l)
        o = Softmax(m) z = MatMul(u, w2) w = MatMul(o, z) e = Add(w, b2) f = MatMul(e, w3) h = Gelu(f)
        p = ReduceMean<keepdims = 0>(h, one) y = MatMul(p, w4)""",
    "reshape": f"""s = Shape(x) n = Gather(s, i0) t = Concat<axis = 0>(n, flat) a = Conv<{PAD}>(x, w0, b0) r = Relu(a)
        q = Reshape(r, t) y = Gemm<transB = 1>(q, w1, b1)""",
    "any-size": f"""a = Conv<{PAD}, strides = [2, 2]>(x, w0, b0) s = Relu(a)
        c = Conv<{PAD}, strides = [2, 2]>(s, w1, b1) d = Relu(c) e = Conv<{PAD}>(d, w2, b2) f = Add(d, e)
        p = GlobalAveragePool(f) q = Flatten(p) y = Gemm<transB = 1>(q, w3, b3)""",
    "batch-mean": f"""a = Conv<{PAD}>(x, w0, b0) s = Relu(a) p = GlobalAveragePool(s) q = Flatten(p)
        r = ReduceMean<keepdims = 1>(q, none) d = Sub(q, r) y = Gemm<transB = 1>(d, w1, b1)""",
}
SHAPES = {
    "residual": [(6, 3, 3, 3), (8, 6, 3, 3), (6, 8, 3, 3), (4, 6, 3, 3), (6, 4, 3, 3), (5, 6)],
    "depthwise": [(8, 3, 1, 1), (8, 1, 3, 3), (5, 8, 1, 1)],
    "squeeze-excite": [(8, 3, 3, 3), (4, 8, 1, 1), (8, 4, 1, 1), (5, 8)],
    "concat": [(4, 3, 3, 3), (4, 4, 3, 3), (6, 8, 1, 1), (5, 6)],
    "tokens": [(12, 8), (12, 8), (12, 8), (8, 6), (6, 5)],
    "reshape": [(6, 3, 3, 3), (5, 384)],
    "any-size": [(6, 3, 3, 3), (4, 6, 3, 3), (4, 4, 3, 3), (5, 4)],
    "batch-mean": [(6, 3, 3, 3), (5, 6)],
}


def _make(name: str, batch: str = "N") -> ModelProto:
    rng = np.random.default_rng(0)
    weights = {
        f"w{place}": 2 * rng.normal(0, np.prod(shape[1:]) ** -0.5, shape) for place, shape in enumerate(SHAPES[name])
    }
    weights |= {f"b{place}": rng.normal(0, 0.3, shape[:1]) for place, shape in enumerate(SHAPES[name])}
    if name == "tokens":
        weights |= {"b0": rng.normal(0, 0.3, 8), "b2": rng.normal(0, 0.3, 8)}
    weights |= {f"b{key}": rng.uniform(0.5, 1.5, 8) for key in "ghmv"}
    weights |= {"zero": np.array(0.0), "six": np.array(6.0)}
    arrays = {key: value.astype(np.float32) for key, value in weights.items()}
    arrays |= {
        "i0": np.array([0]),
        "tail": np.array([16, 12]),
        "flat": np.array([384]),
        "one": np.array([1]),
        "none": np.array([0]),
    }
    sizes = "N,N" if name == "any-size" else "8,8"  # as of exporters that call every open size the same
    head = f'<ir_version: 10, opset_import: ["" : 20]> g (float[{batch},3,{sizes}] x) => (float[{batch},5] y)'
    model = onnx.parser.parse_model(f"{head} {{ {TEXTS[name]} }}")
    read = {each for node in model.graph.node for each in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(each, key) for key, each in arrays.items() if key in read)
    return model


NETS: dict[str, Callable[[], ModelProto]] = {name: lambda name=name: _make(name) for name in TEXTS}


def fixed(name: str, batch: int) -> ModelProto:
    """The same for batches of one size."""
    return _make(name, str(batch))


def sure(name: str) -> ModelProto:
    """The same with answers that are sure of most samples."""
    model = _make(name)
    for tensor in model.graph.initializer:
        if tensor.name == model.graph.node[-1].input[1]:
            tensor.CopyFrom(numpy_helper.from_array(40 * numpy_helper.to_array(tensor), tensor.name))
    return model


def calibration(model: ModelProto, settings: Settings, count: int = 12, seed: int = 1) -> Calibration:
    x = np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)
    return fed(opened(model, settings), {"x": x}, count)
