from __future__ import annotations

import numpy as np
import pytest
from models import Array, Weights, build
from onnx import ModelProto, TensorProto, helper, numpy_helper

import graph
from graph import ModelError
from graph.model.program import captured, label
from graph.model.reader import read

IN = "float[N,3,H,W] x"


def broken(nodes: list[tuple[str, list[str], str]], output: str = "y", **weights: Array) -> ModelProto:
    """A model that onnx's own tools would refuse to build."""
    body = helper.make_graph(
        [helper.make_node(kind, inputs, [out], name=f"node_{out}") for kind, inputs, out in nodes],
        "broken",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(body, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (broken([("Add", ["x", "b"], "a"), ("Relu", ["a"], "b"), ("Relu", ["b"], "y")]), ["node_a", "'b'", "cycle"]),
        (broken([("Relu", ["nowhere"], "y")]), ["node_y", "'nowhere'"]),
        (broken([("Relu", ["x"], "a")]), ["'y'"]),
        (broken([("MatMul", ["x", "w"], "y")], w=np.ones((4, 5), np.float32)), ["node_y"]),
        (broken([("Conv", ["x", "w"], "y")], w=np.ones((4, 5, 3, 3), np.float32)), ["node_y"]),
        (broken([("Reshape", ["x", "s"], "y")], s=np.array([2, 4])), ["node_y"]),
        (broken([("Concat", ["x", "w"], "y")], w=np.ones((4, 5), np.float32)), ["node_y"]),
    ],
)
def test_broken_graphs(model: ModelProto, names: list[str]) -> None:
    for verb in (graph.analyse, graph.shrink):
        with pytest.raises(ModelError) as caught:
            verb(model)
        message = str(caught.value)
        assert all(name in message for name in names), message
        assert "\n" not in message


@pytest.mark.parametrize("part", ["node", "output"])
def test_an_empty_graph(part: str) -> None:
    model = broken([("Relu", ["x"], "y")])
    model.graph.ClearField(part)
    with pytest.raises(ModelError, match=f"no {part}s"):
        graph.analyse(model)


def test_order_does_not_matter() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv(x, w1) r = Relu(a) y = Conv(r, w2) }}", w1=w(4, 3, 1, 1), w2=w(2, 4, 1, 1)
    )
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert [node.output[0] for node in read(model).nodes] == ["a", "r", "y"]


def test_every_tensor_has_a_shape() -> None:
    w = Weights()
    model = build(
        f"({IN}) => (y) {{ a = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w1) s = Shape(a) n = Gather(s, zero)"
        " t = Concat<axis=0>(n, rest) g = GlobalAveragePool(a) y = Reshape(g, t) }",
        w1=w(4, 3, 3, 3), zero=np.array([0]), rest=np.array([-1]),
    )  # fmt: skip
    program = read(model)
    assert (program.shapes["a"], program.shapes["y"]) == ((2, 4, 32, 32), (2, 4))
    assert program.probed["t"].tolist() == [2, -1]
    assert "t" not in program.constants, "what depends on a probed size is no constant"


def test_declared_shapes_stand_in_for_unknown_ops() -> None:
    model = build(
        "(float[N,3,8,8] x) => (float[N,3,8,8] y) <float[N,3,8,8] a> { a = org.example.Odd(x) y = Relu(a) }",
        domains=("org.example",),
    )
    assert read(model).shapes["y"][1:] == (3, 8, 8)


def test_constants_are_folded() -> None:
    program = read(
        build(f"({IN}) => (y) {{ t = Transpose<perm=[3,2,0,1]>(w1) y = Conv(x, t) }}", w1=Weights()(1, 1, 3, 4).T.T)
    )
    assert program.constants["t"].shape == (4, 3, 1, 1)


def test_random_numbers_are_not_constants() -> None:
    program = read(
        build(
            "(float[2,3] x) => (y) { r = RandomNormal<shape=[2,3]>() s = RandomNormalLike(w) y = Sum(x, r, s) }",
            w=Weights()(2, 3),
        )
    )
    assert "r" not in program.constants
    assert "s" not in program.constants


def test_inputs_are_what_is_fed() -> None:
    model = build("(float[N,3] x) => (y) { y = MatMul(x, w) }", ir=3, opset=9, w=Weights()(3, 2))
    assert [value.name for value in model.graph.input] == ["x", "w"]
    assert read(model).inputs == ["x"]


@pytest.mark.parametrize(("dims", "expected"), [("N", True), ("4", False)])
def test_batched(dims: str, expected: bool) -> None:
    assert read(build(f"(float[{dims},3] x) => (y) {{ y = Relu(x) }}")).batched is expected


def test_consumers_count_sub_graphs() -> None:
    program = read(
        build(
            "(bool flag, float[2] x) => (y) { a = Relu(x) y = If(flag) <"
            "then_branch = yes () => (float[2] p) { t = Neg(a) p = Abs(t) },"
            "else_branch = no () => (float[2] q) { q = Abs(a) }> }"
        )
    )
    assert captured(program.nodes[1]) == ["a"]
    assert program.consumers["a"] == [1]
    assert program.consumers["x"] == [0]


def test_labels() -> None:
    assert label(helper.make_node("Relu", ["a"], ["b"], name="act")) == "Relu:act"
    assert label(helper.make_node("Relu", ["a"], ["b"])) == "Relu:b"


@pytest.mark.parametrize(("into", "parts"), [("N,4,H,W", 7), ("N,4,H,W", 3), ("N,4,H,W", 5), ("1,4,28,W", 28)])
def test_open_sizes_that_fit_no_power_of_two(into: str, parts: int) -> None:
    """Windows of a Swin, thirds of a sequence."""
    w = Weights()
    model = build(
        f"(float[{into}] x) => (y) {{ a = Conv(x, w) b = Reshape(a, s) y = ReduceMean<keepdims=0>(b, ax) }}",
        w=w(4, 4, 1, 1, zero=(1,)), s=np.array([0, 0, 0, -1, parts]), ax=np.array([3]),
    )  # fmt: skip
    program = read(model)
    assert program.shapes["b"][-1] == parts
    assert program.dynamic["b"]
