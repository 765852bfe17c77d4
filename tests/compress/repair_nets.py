"""Networks to prune and repair, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

import graph
from compress.repair import Repair, repair
from graph.candidates.classes import Classes, classes
from graph.values import Mask
from runtime import Settings, open_session

ONE = Settings(threads=1)
Nodes = Sequence[tuple[str, list[str], str, dict[str, object]]]


def network(nodes: Nodes, weights: dict[str, np.ndarray], shape: Sequence[int | str]) -> ModelProto:
    """A model from ``x`` to ``y`` of float32."""
    made = [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in nodes]
    own = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    body = helper.make_graph(made, "net", [x], [y], own)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    scale = np.prod(shape[1:]) ** -0.5
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


def feeds(*shape: int, count: int = 4) -> list[dict[str, np.ndarray]]:
    return [{"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)} for seed in range(count)]


def error(model: ModelProto, other: ModelProto, batches: Sequence[dict[str, np.ndarray]]) -> float:
    """Relative squared error of ``other``."""
    sessions = [open_session(each.SerializeToString(), ONE) for each in (model, other)]
    one, two = (np.concatenate([session.run(batch)["y"] for batch in batches]) for session in sessions)
    return float(np.square(one - two).sum() / np.square(one - one.mean(0)).sum())


def mask(found: Classes, *numbers: int) -> Mask:
    chosen = np.zeros(len(found), np.bool_)
    chosen[list(numbers)] = True
    return chosen


def widths(model: ModelProto) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


def mended(model: ModelProto, chosen: Sequence[int], batches: Sequence[dict[str, np.ndarray]]) -> Repair:
    found = classes(graph.analyse(model))
    return repair(found, mask(found, *chosen), batches, settings=ONE)


def two_convolutions(first: np.ndarray, bias: np.ndarray, second: np.ndarray, pads: int = 1) -> ModelProto:
    weights = {"w1": first, "b1": bias, "w2": second, "b2": draw(second.shape[0])}
    nodes: Nodes = [
        ("Conv", ["x", "w1", "b1"], "h", {"pads": [1] * 4}),
        ("Relu", ["h"], "r", {}),
        ("Conv", ["r", "w2", "b2"], "y", {"pads": [pads] * 4}),
    ]
    return network(nodes, weights, ["n", 3, 8, 8])


def residual_network(folded: bool) -> ModelProto:
    """Two residual blocks, in which the second one's sum can make good the first one's error."""
    weights = {"w0": draw(8, 3, 3, 3), "b0": draw(8), "w9": draw(4, 8)}
    nodes: list[tuple[str, list[str], str, dict[str, object]]] = [("Conv", ["x", "w0", "b0"], "s0", {"pads": [1] * 4})]
    for k in (1, 2):
        weights |= {f"a{k}": draw(12, 8, 3, 3, seed=k), f"c{k}": draw(12), f"d{k}": draw(8, 12, 3, 3, seed=k)}
        nodes += [
            ("Conv", [f"s{k - 1}", f"a{k}", f"c{k}"], f"h{k}", {"pads": [1] * 4}),
            ("Relu", [f"h{k}"], f"r{k}", {}),
            ("Conv", [f"r{k}", f"d{k}"], f"o{k}", {"pads": [1] * 4}),
        ]
        if not folded:
            scale = 1 + draw(8, seed=k)
            weights |= {f"g{k}": scale, f"t{k}": draw(8), f"m{k}": draw(8), f"v{k}": np.square(draw(8)) + 1}
            nodes.append(("BatchNormalization", [f"o{k}", f"g{k}", f"t{k}", f"m{k}", f"v{k}"], f"n{k}", {}))
        nodes += [("Add", [f"s{k - 1}", f"o{k}" if folded else f"n{k}"], f"u{k}", {}), ("Relu", [f"u{k}"], f"s{k}", {})]
    nodes += [("GlobalAveragePool", ["s2"], "p", {}), ("Flatten", ["p"], "f", {})]
    nodes += [("Gemm", ["f", "w9"], "y", {"transB": 1, "alpha": 0.5})]
    return network(nodes, weights, ["n", 3, 8, 8])


def depthwise_network() -> ModelProto:
    weights = {"w1": draw(12, 3, 1, 1), "b1": draw(12), "w2": draw(12, 1, 3, 3), "w3": draw(6, 12, 1, 1), "b3": draw(6)}
    nodes: Nodes = [
        ("Conv", ["x", "w1", "b1"], "h1", {}),
        ("Clip", ["h1", "low", "high"], "r1", {}),
        ("Conv", ["r1", "w2"], "h2", {"group": 12, "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("Relu", ["h2"], "r2", {}),
        ("Conv", ["r2", "w3", "b3"], "y", {}),
    ]
    return network(nodes, weights | {"low": np.float32(0), "high": np.float32(6)}, ["n", 3, 9, 9])


def grouped_network() -> ModelProto:
    weights = {"w1": draw(12, 3, 3, 3), "w2": draw(8, 6, 3, 3), "w3": draw(4, 8, 1, 1)}
    nodes: Nodes = [
        ("Conv", ["x", "w1"], "h1", {"pads": [1] * 4}),
        ("Relu", ["h1"], "r1", {}),
        ("Conv", ["r1", "w2"], "h2", {"group": 2, "dilations": [2, 2], "pads": [2, 1, 2, 3]}),
        ("Relu", ["h2"], "r2", {}),
        ("Conv", ["r2", "w3"], "y", {}),
    ]
    return network(nodes, weights, ["n", 3, 9, 9])


def upsampling_network() -> ModelProto:
    """Transposed convolutions in groups, with gaps and pads that differ, as decoders have them."""
    weights = {
        "w1": draw(6, 3, 3, 3),
        "w2": draw(6, 4, 3, 2),
        "b2": draw(8),
        "w3": draw(8, 5, 2, 2),
        "w4": draw(4, 5, 1, 1),
    }
    nodes: Nodes = [
        ("Conv", ["x", "w1"], "h1", {"strides": [2, 2], "pads": [1] * 4}),
        ("Relu", ["h1"], "r1", {}),
        (
            "ConvTranspose",
            ["r1", "w2", "b2"],
            "h2",
            {"group": 2, "strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
        ),
        ("Relu", ["h2"], "r2", {}),
        ("ConvTranspose", ["r2", "w3"], "h3", {"strides": [2, 2]}),
        ("Relu", ["h3"], "r3", {}),
        ("Conv", ["r3", "w4"], "y", {}),
    ]
    return network(nodes, weights, ["n", 3, 9, 9])


def perceptron() -> ModelProto:
    weights = {"w1": draw(10, 6).T, "b1": draw(10), "w2": draw(8, 10).T, "w3": draw(8, 5), "b3": draw(5)}
    nodes: Nodes = [
        ("MatMul", ["x", "w1"], "h1", {}),
        ("Add", ["h1", "b1"], "a1", {}),
        ("Tanh", ["a1"], "r1", {}),
        ("MatMul", ["r1", "w2"], "h2", {}),
        ("Sigmoid", ["h2"], "r2", {}),
        ("Gemm", ["r2", "w3", "b3"], "y", {"beta": 0.5}),
    ]
    return network(nodes, weights, ["n", 6])


def transformer_mlp() -> ModelProto:
    """Two MLPs of a vision transformer, each behind a normalisation and beside its tokens."""
    nodes: list[tuple[str, list[str], str, dict[str, object]]] = []
    weights: dict[str, np.ndarray] = {"w9": draw(8, 3)}
    for k, name in ((1, "x"), (2, "s1")):
        weights |= {f"g{k}": 1 + draw(8, seed=k), f"t{k}": draw(8, seed=k)}
        weights |= {f"a{k}": draw(16, 8, seed=k).T, f"b{k}": draw(16), f"c{k}": draw(8, 16, seed=k).T, f"d{k}": draw(8)}
        nodes += [
            ("LayerNormalization", [name, f"g{k}", f"t{k}"], f"n{k}", {}),
            ("MatMul", [f"n{k}", f"a{k}"], f"h{k}", {}),
            ("Add", [f"b{k}", f"h{k}"], f"i{k}", {}),
            ("Erf", [f"i{k}"], f"e{k}", {}),
            ("MatMul", [f"e{k}", f"c{k}"], f"o{k}", {}),
            ("Add", [f"o{k}", f"d{k}"], f"p{k}", {}),
            ("Add", [f"p{k}", name], f"s{k}", {}),
        ]
    return network([*nodes, ("MatMul", ["s2", "w9"], "y", {})], weights, ["n", 7, 8])


NETWORKS = {
    "residual": (lambda: residual_network(True), (16, 3, 8, 8)),
    "batch-normalisation": (lambda: residual_network(False), (16, 3, 8, 8)),
    "depthwise": (depthwise_network, (16, 3, 9, 9)),
    "grouped": (grouped_network, (16, 3, 9, 9)),
    "upsampling": (upsampling_network, (16, 3, 9, 9)),
    "perceptron": (perceptron, (64, 6)),
    "transformer": (transformer_mlp, (32, 7, 8)),
}


def sounds() -> ModelProto:
    """Convolutions along one axis, with and without padding on one side, and an alpha that is not 1."""
    weights = {"w1": draw(6, 2, 5), "b1": draw(6), "w2": draw(4, 6, 2), "w3": draw(3, 28), "b3": draw(3)}
    nodes: Nodes = [
        ("Conv", ["x", "w1", "b1"], "h1", {"strides": [2], "auto_pad": "SAME_LOWER"}),
        ("Relu", ["h1"], "r1", {}),
        ("Conv", ["r1", "w2"], "h2", {"auto_pad": "VALID", "dilations": [2]}),
        ("Relu", ["h2"], "r2", {}),
        ("Flatten", ["r2"], "f", {}),
        ("Gemm", ["f", "w3", "b3"], "y", {"transB": 1, "alpha": 2.0, "beta": 0.25}),
    ]
    return network(nodes, weights, ["n", 2, 17])
