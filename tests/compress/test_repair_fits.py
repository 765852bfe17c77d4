"""Which layers are fitted anew, to what, and how closely."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from repair_nets import (
    NETWORKS,
    ONE,
    Nodes,
    draw,
    error,
    feeds,
    grouped_network,
    mended,
    network,
    perceptron,
    sounds,
    two_convolutions,
)

import graph
from compress.repair import repair
from compress.repair.fittable import fittable
from compress.repair.walk import Walk, pieces
from graph.candidates.classes import classes


@pytest.mark.parametrize("name", [*NETWORKS, "sounds"])
def test_a_layer_is_the_matrix_of_its_node(name: str) -> None:
    build, shape = {**NETWORKS, "sounds": (sounds, (3, 2, 17))}[name]
    analysis = graph.analyse(build())
    layers, left = fittable(analysis.program, analysis.trace)
    assert not left
    found = {layer.index: layer for layer in layers}
    walk = Walk(analysis.program, feeds(*shape, count=1), {}, ONE)
    for nodes, stop in pieces(analysis.program, list(found)):
        walk.run(nodes)
        if stop is None:
            break
        layer, data = found.pop(stop), walk.tensors[0][analysis.program.nodes[stop].input[0]]
        walk.run([stop])
        out = walk.tensors[0][layer.node.output[0]]
        matrix = layer.matrix(analysis.program, {})
        places = np.arange(layer.places(out))
        kernel = analysis.program.constants[layer.node.input[1]]
        np.testing.assert_allclose(layer.inputs(data, kernel, places) @ matrix, layer.made(out, places), atol=1e-4)
        for (node, slot), value in layer.store(analysis.program, {}, matrix).items():
            inputs = analysis.program.nodes[node].input
            before = analysis.program.constants[inputs[slot]] if slot < len(inputs) else np.zeros(layer.outputs)
            np.testing.assert_allclose(value, before, atol=1e-6)
    assert not found


@pytest.mark.parametrize("samples", [2, 6])
def test_rows_say_what_second_moments_say(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With penalties that are relative to variances, and a bias that is free or stays."""
    for build, shape in ((perceptron, (samples, 6)), (grouped_network, (samples, 3, 9, 9))):
        model, batches = build(), feeds(*shape, count=1)
        ways = []
        for largest in (8192, 1):
            monkeypatch.setattr("compress.repair.layer.LARGEST", largest)
            monkeypatch.setattr("compress.repair.moments.PER_FEATURE", 10**6)
            monkeypatch.setattr("compress.repair.rows.MOST", 10**6)
            ways.append(mended(model, [0, 3], batches))
        assert ways[0].fitted == ways[1].fitted
        assert error(*(way.model for way in ways), batches) < 1e-6


@pytest.mark.parametrize("samples", [1, 2, 8, 12])
@pytest.mark.parametrize("name", NETWORKS)
def test_few_samples_do_no_harm(name: str, samples: int) -> None:
    """A fit to about as many samples as features would be far worse than none."""
    build, shape = NETWORKS[name]
    model, found = build(), classes(graph.analyse(build()))
    chosen = found.weakest(np.random.default_rng(0).random(len(found)), len(found) // 3)
    fresh = feeds(*shape, count=6)[4:]
    plain = error(model, found.zeroed(chosen), fresh)
    few = [{"x": batch["x"][:1]} for batch in feeds(*shape, count=samples)]
    assert error(model, repair(found, chosen, few, settings=ONE).model, fresh) < plain
    assert (
        error(
            model,
            repair(found, chosen, [{"x": np.concatenate([each["x"] for each in few])}], settings=ONE).model,
            fresh,
        )
        < plain
    )


def test_a_large_mean_is_left_to_the_bias() -> None:
    """Weights hold on to what they were relative to how much what they weigh varies, not to how large it is."""
    weights = {"w1": draw(10, 6).T, "b1": draw(10) + 1000, "w2": draw(5, 10).T, "b2": draw(5)}
    nodes: Nodes = [
        ("MatMul", ["x", "w1"], "h", {}),
        ("Add", ["h", "b1"], "a", {}),
        ("MatMul", ["a", "w2"], "m", {}),
        ("Add", ["m", "b2"], "y", {}),
    ]
    model, batches = network(nodes, weights, ["n", 6]), feeds(64, 6)
    assert error(model, mended(model, [1, 2], batches).model, batches) < 1e-4  # ten features of six that vary


def test_weights_that_are_shared_are_left_alone_and_named() -> None:
    weights = {"w1": draw(8, 8), "b1": draw(8), "w2": draw(8, 8, seed=1)}
    nodes: Nodes = [
        ("Gemm", ["x", "w1", "b1"], "h", {}),
        ("Relu", ["h"], "r", {}),
        ("Gemm", ["r", "w2"], "a", {}),
        ("Relu", ["a"], "b", {}),
        ("Gemm", ["b", "w2"], "y", {}),
    ]
    model = network(nodes, weights, ["n", 8])
    result = mended(model, [1], feeds(32, 8))
    assert result.left == dict.fromkeys(("Gemm:a", "Gemm:y"), "its weight is shared with other nodes")
    assert not result.fitted


def test_more_features_than_samples_is_no_trouble() -> None:
    model = two_convolutions(draw(8, 3, 3, 3), draw(8), draw(5, 8, 3, 3), pads=0)
    result = mended(model, [1, 2], [{"x": draw(1, 3, 8, 8)}])
    assert np.isfinite(result.error)


def test_layers_inside_a_node_are_zeroed_and_named() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[n,6] x, bool flag) => (float[n,3] y) {
        y = If (flag) <
            then_branch = one () => (float[n,3] t) { a = MatMul(x, w1) b = Relu(a) t = MatMul(b, w2) },
            else_branch = two () => (float[n,3] e) { e = MatMul(x, w3) }> }"""
    model = onnx.parser.parse_model(text)
    for name, shape in (("w1", (6, 5)), ("w2", (5, 3)), ("w3", (6, 3))):
        model.graph.initializer.append(numpy_helper.from_array(draw(*shape), name))
    batches = [{**batch, "flag": np.array(True)} for batch in feeds(8, 6)]
    result = mended(model, [1], batches)
    assert (result.fitted, result.left) == ([], {"If:y": "graphs inside it are not fitted"})


def test_products_of_activations_are_no_layers() -> None:
    """As in attention: there is no weight that could be fitted."""
    weights = {"w1": draw(8, 6).T, "w2": draw(8, 6, seed=1).T}
    nodes: Nodes = [
        ("MatMul", ["x", "w1"], "q", {}),
        ("MatMul", ["x", "w2"], "k", {}),
        ("Transpose", ["k"], "t", {"perm": [0, 2, 1]}),
        ("MatMul", ["q", "t"], "y", {}),
    ]
    analysis = graph.analyse(network(nodes, weights, ["n", 4, 6]))
    found, left = fittable(analysis.program, analysis.trace)
    assert ([layer.node.output[0] for layer in found], left) == (["q", "k"], {})
