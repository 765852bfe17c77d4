"""Graphs inside If, Loop and Scan are shrunk as graphs of their own."""

from __future__ import annotations

import numpy as np
import pytest
from blocks import BLOCKS
from models import Array, Weights, assert_close, build, run, shrunk
from networks import SIZE, network
from onnx import GraphProto, ModelProto, TensorProto, compose, helper

import graph
from graph import ModelError
from graph.candidates.classes import classes
from graph.counts import macs
from graph.model.nodes import bodies, everywhere
from graph.model.reader import read

W = Weights()
DEAD = (1, 4)
X = "bool flag, float[N,3,H,W] x"


def conditional(then: str, other: str, around: str = "y = {}", ir: int = 10, **weights: Array) -> ModelProto:
    """``flag ? then : other``, where both are lists of nodes that make ``p`` and ``q`` from what ``around`` has."""
    inner = (
        "If(flag) <then_branch = yes () => (float[N,2,H,W] p) {" + then + "},"
        " else_branch = no () => (float[N,2,H,W] q) {" + other + "}>"
    )
    return build(f"({X}) => (float[N,2,H,W] y) {{ {around.format(inner)} }}", ir=ir, **weights)


def stored(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of the initializers of all graphs."""
    return {tensor.name: tuple(tensor.dims) for each in everywhere(model.graph) for tensor in each.initializer}


def inside(model: ModelProto, name: str) -> GraphProto:
    return next(body for node in model.graph.node for key, body in bodies(node) if key == name)


def move_inside(model: ModelProto, attribute: str, *names: str) -> ModelProto:
    """The model with some of its initializers in a branch."""
    body = inside(model, attribute)
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in names]:
        body.initializer.append(tensor)
        model.graph.initializer.remove(tensor)
    return model


def test_a_branch_loses_its_dead_channels() -> None:
    model = conditional(
        "a = Conv(x, w1) r = Relu(a) p = Conv(r, w2)", "q = Conv(x, w3)",
        w1=W(6, 3, 1, 1, zero=DEAD), w2=W(2, 6, 1, 1), w3=W(2, 3, 1, 1),
    )  # fmt: skip
    slim, certificate = shrunk(move_inside(model, "then_branch", "w1", "w2"))
    assert stored(slim) == {"w1": (4, 3, 1, 1), "w2": (2, 4, 1, 1), "w3": (2, 3, 1, 1)}
    assert [(entry.reason, entry.channels, entry.tensors) for entry in certificate.removed] == [
        ("zero", 2, ["w1[0]", "w2[1]"])
    ]
    assert certificate.input.parameters - certificate.output.parameters == 2 * (3 + 2)


def test_a_constant_from_outside_is_copied_where_it_shrinks() -> None:
    model = conditional(
        "a = Conv(x, w1) p = Conv(a, w2)", "b = Conv(x, w1) r = Exp(b) q = Conv(r, w3)",
        w1=W(6, 3, 1, 1, zero=DEAD), w2=W(2, 6, 1, 1), w3=W(2, 6, 3, 3),
    )  # fmt: skip
    slim, _ = shrunk(model)
    found = stored(slim)
    names = [tensor.name for each in everywhere(slim.graph) for tensor in each.initializer]
    assert len(names) == len(set(names)), "names are unique over all graphs"
    assert sorted(found.values()) == sorted([(4, 3, 1, 1), (2, 4, 1, 1), (4, 3, 1, 1), (2, 4, 3, 3), (2,)]), (
        "of e^0 = 1 a bias remains"
    )
    assert not slim.graph.initializer


def test_files_that_list_their_weights_as_inputs() -> None:
    """Up to IR 3, whose branches have no such list: there the weights of both lie outside, or are Constant nodes."""
    model = conditional(
        "a = Conv(x, w1) p = Conv(a, w2)", "b = Conv(x, w1) r = Relu(b) q = Conv(r, w3)", ir=3,
        w1=W(6, 3, 1, 1, zero=DEAD), w2=W(2, 6, 1, 1), w3=W(2, 6, 1, 1),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert certificate.output.parameters < certificate.input.parameters
    assert [value.name for value in slim.graph.input][:2] == ["flag", "x"]


def test_a_constant_that_others_need_whole_stays_outside() -> None:
    model = conditional(
        "a = Conv(x, w1) p = Conv(a, w2)", "q = Conv(s, w2)", "s = Softmax<axis=1>(c) y = {}",
        w1=W(6, 3, 1, 1, zero=DEAD), w2=W(2, 6, 1, 1),
    )  # fmt: skip
    model.graph.node.insert(0, helper.make_node("Conv", ["x", "w1"], ["c"], name="c"))
    slim, _ = shrunk(model)
    assert {tensor.name for tensor in slim.graph.initializer} == {"w1", "w2"}
    assert sorted(tuple(t.dims) for t in inside(slim, "then_branch").initializer) == [(2, 4, 1, 1), (4, 3, 1, 1)]


def test_what_a_graph_inside_reads_stays_whole() -> None:
    model = conditional(
        "p = Conv(a, w2)", "q = Conv(a, w3)", "a = Conv(x, w1) y = {}",
        w1=W(6, 3, 1, 1, zero=DEAD), w2=W(2, 6, 1, 1), w3=W(2, 6, 3, 3, zero=(0,)),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert stored(slim)["w1"] == (6, 3, 1, 1)
    assert [(entry.op, entry.why) for entry in certificate.frozen] == [("If:y", "enters a graph inside")]


def test_graphs_inside_graphs_inside_graphs() -> None:
    depth, text = 3, "p3 = Conv(x, a3) q3 = Relu(p3) y3 = Conv(q3, b3)"
    for level in reversed(range(depth)):
        text = (
            f"y{level} = If(flag) <then_branch = t{level} () => (float[N,2,H,W] y{level + 1}) {{ {text} }},"
            f" else_branch = e{level} () => (float[N,2,H,W] z{level}) {{ r{level} = Conv(x, a{level})"
            f" z{level} = Conv(r{level}, b{level}) }}>"
        )
    weights = {f"a{level}": W(5 + level, 3, 1, 1, zero=DEAD) for level in range(depth + 1)}
    weights |= {f"b{level}": W(2, 5 + level, 1, 1) for level in range(depth + 1)}
    slim, certificate = shrunk(build(f"({X}) => (float[N,2,H,W] y0) {{ {text} }}", **weights))
    assert sum(entry.channels for entry in certificate.removed) == 2 * (depth + 1)
    assert sorted(stored(slim).values()) == sorted(
        shape for level in range(depth + 1) for shape in ((3 + level, 3, 1, 1), (2, 3 + level, 1, 1))
    )


def test_a_loop() -> None:
    model = build(
        "(int64 n, bool keep, float[N,4] x) => (float[N,4] y) { y = Loop(n, keep, x) <body = step"
        " (int64 i, bool c, float[N,4] s) => (bool d, float[N,4] t)"
        " { d = Identity(c) a = MatMul(s, w1) r = Relu(a) m = MatMul(r, w2) t = Tanh(m) }> }",
        w1=W(4, 8, zero=DEAD, axis=1), w2=W(8, 4),
    )  # fmt: skip
    slim, certificate = graph.shrink(model)
    assert sorted(stored(slim).values()) == [(4, 6), (6, 4)]
    assert certificate.output.macs == 2 * 4 * 6, "one iteration, one sample"
    compare(model, slim, n=np.array(5), keep=np.array(True), x=W(3, 4))


def test_a_state_that_grows_has_no_shape() -> None:
    model = build(
        "(int64 n, bool keep, float[1,4] x) => (float[M,4] y) { z = Loop(n, keep, x) <body = step"
        " (int64 i, bool c, float[K,4] s) => (bool d, float[L,4] t)"
        " { d = Identity(c) a = MatMul(x, w1) b = MatMul(a, w2) t = Concat<axis=0>(s, b) }> y = Relu(z) }",
        w1=W(4, 8, zero=DEAD, axis=1), w2=W(8, 4),
    )  # fmt: skip
    program = read(model)
    (body,) = program.bodies.values()
    assert "s" not in body.shapes and body.shapes["b"] == (1, 4)
    slim, _ = graph.shrink(model)
    assert sorted(stored(slim).values()) == [(4, 6), (6, 4)]
    compare(model, slim, n=np.array(3), keep=np.array(True), x=W(1, 4))


def test_a_scan() -> None:
    model = build(
        "(float[4] h, float[T,3] x) => (float[4] g, float[T,2] y) { g, y = Scan<num_scan_inputs = 1, body = step"
        " (float[4] s, float[3] e) => (float[4] t, float[2] o)"
        " { a = MatMul(e, w1) b = Relu(a) u = MatMul(b, w2) v = Add(u, s) t = Tanh(v) o = MatMul(b, w3) }>(h, x) }",
        w1=W(3, 8, zero=DEAD, axis=1), w2=W(8, 4), w3=W(8, 2),
    )  # fmt: skip
    program = read(model)
    assert program.shapes["y"] == (2, 2) and list(program.dynamic["y"]) == [0]
    slim, _ = graph.shrink(model)
    assert sorted(stored(slim).values()) == [(3, 6), (6, 2), (6, 4)]
    compare(model, slim, h=W(4), x=W(7, 3))


@pytest.mark.parametrize(("condition", "shape"), [("axis", (2, 4, 64, 64)), ("batch", None), ("one", (2, 4, 64, 64))])
def test_a_branch_that_is_always_taken_has_the_shape(condition: str, shape: tuple[int, ...] | None) -> None:
    """Old exporters squeeze under a condition on a size; of a size that is fed nobody knows which branch it takes."""
    model = build(
        "(float[N,3,H,W] x) => (float[N,2,H,W] y) { a = Conv(x, w1) s = Shape(a) axis_size = Gather(s, axis)"
        " batch_size = Gather(s, batch) one_size = Identity(three) " + f"f = Equal({condition}_size, one) "
        "b = If(f) <then_branch = yes () => (float[P,Q,R] p) { p = Squeeze(a, axis_of) },"
        " else_branch = no () => (float[P,Q,R,S] q) { q = Relu(a) }> d = Conv(b, w2) e = Relu(d) y = Conv(e, w3) }",
        w1=W(4, 3, 1, 1), w2=W(6, 4, 1, 1, zero=DEAD), w3=W(2, 6, 1, 1), axis=np.array(1), batch=np.array(0),
        one=np.array(1), three=np.array(3), axis_of=np.array([2]),
    )  # fmt: skip
    program = read(model)
    assert program.shapes.get("b") == shape
    slim, _ = graph.shrink(model)
    compare(model, slim, x=W(2, 3, 8, 8))
    assert stored(slim)["w2"][0] == (4 if shape else 6)


def test_branches_of_two_shapes_have_none() -> None:
    model = build(
        f"({X}) => (float[N,2,P,Q] y) {{ z = If(flag) <"
        "then_branch = yes () => (float[N,4,P,Q] p) { p = Conv(x, w1) },"
        " else_branch = no () => (float[N,4,P,Q] q) { q = Conv<strides=[2,2]>(x, w1) }> y = Conv(z, w2) }",
        w1=W(4, 3, 1, 1), w2=W(2, 4, 1, 1),
    )  # fmt: skip
    program = read(model)
    assert "z" not in program.shapes and program.shapes["x"] == (2, 3, 64, 64)
    shrunk(model)


def test_what_varies_outside_varies_inside() -> None:
    """z is zero in the lower half of the probed image; another image has another lower half."""
    model = conditional(
        "k = Concat<axis=2>(x, o) s = Slice(k, half, end, two) p = Conv(s, w)", "q = Conv(x, w)",
        "o = Mul(x, zero) y = {}",
        zero=np.zeros(1, np.float32), half=np.array([64]), end=np.array([2**40]), two=np.array([2]), w=W(2, 3, 1, 1),
    )  # fmt: skip
    (body, _) = read(model).bodies.values()
    assert list(body.dynamic["x"]) == [0, 2, 3] and 2 in body.dynamic["s"]
    slim, _ = graph.shrink(model)
    for size in (64, 96):
        feeds = {"flag": np.array(True), "x": W(1, 3, size, size)}
        compare(model, slim, **feeds)


def test_classes_inside_are_offered_and_go() -> None:
    model = conditional(
        "a = Conv(x, w1) r = Relu(a) p = Conv(r, w2)", "b = Conv(x, w3) s = Relu(b) q = Conv(s, w4)",
        w1=W(6, 3, 1, 1), w2=W(2, 6, 1, 1), w3=W(8, 3, 1, 1), w4=W(2, 8, 1, 1),
    )  # fmt: skip
    found = classes(graph.analyse(move_inside(model, "then_branch", "w1", "w2")))
    assert len(found) == 6 + 8 and len(np.unique(found.family)) == 2
    assert found.reduce(np.ones_like).tolist() == [3] * 14
    chosen = np.arange(14) % 3 == 0
    zeroed = found.zeroed(chosen)
    slim, certificate = shrunk(zeroed)
    assert sum(entry.channels for entry in certificate.removed) == chosen.sum()
    assert sorted(stored(slim).values()) == [(2, 4, 1, 1), (2, 5, 1, 1), (4, 3, 1, 1), (5, 3, 1, 1)]


def test_the_costlier_branch_counts() -> None:
    program = read(
        conditional("p = Conv(x, w1)", "a = Conv(x, w2) q = Conv(a, w1)", w1=W(2, 3, 1, 1), w2=W(3, 3, 1, 1))
    )

    assert macs(program) == 64 * 64 * (3 * 3 + 2 * 3)


def test_a_graph_inside_that_takes_other_inputs() -> None:
    model = conditional("p = Conv(x, w)", "q = Conv(x, w)", w=W(2, 3, 1, 1))
    inside(model, "then_branch").input.add(name="odd")
    with pytest.raises(ModelError, match="node If:y has a graph inside with 1 inputs and 1 outputs where 0 and 1 fit"):
        graph.analyse(model)


def compare(model: ModelProto, slim: ModelProto, **feeds: Array) -> None:
    for name, value in run(model, feeds).items():
        assert_close(run(slim, feeds)[name], value, name)


@pytest.mark.parametrize("seed", range(20))
def test_any_network_inside_a_branch(seed: int) -> None:
    """Some weights lie in the branch and some outside; the other branch is the network again, all its own."""
    rng = np.random.default_rng(seed)
    blocks = [block for block in BLOCKS if block.__module__ == "blocks"]  # others have graphs of their own inside
    model = network(seed, [(blocks[place], seed) for place in rng.integers(len(blocks), size=4)])
    _, alone = graph.shrink(model)
    whole = model.graph
    outer = [tensor for place, tensor in enumerate(whole.initializer) if place % 3]
    inner = [tensor for place, tensor in enumerate(whole.initializer) if not place % 3]
    again = compose.add_prefix_graph(whole, "again_", rename_inputs=False)
    branches = {
        "then_branch": helper.make_graph(whole.node, "then", [], whole.output, inner),
        "else_branch": helper.make_graph(again.node, "else", [], again.output, again.initializer),
    }
    outputs = [helper.make_value_info(f"y{place}", value.type) for place, value in enumerate(whole.output)]
    choice = helper.make_node("If", ["flag"], [value.name for value in outputs], name="choice", **branches)
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    model.graph.CopyFrom(helper.make_graph([choice], "chooses", [flag, *whole.input], outputs, outer))
    slim, certificate = graph.shrink(model)
    for value in (False, True):
        compare(model, slim, flag=np.array(value), x=W(2, 3, SIZE, SIZE))
    assert certificate.output.parameters == 2 * alone.output.parameters
