"""A certificate names what really holds a dead channel."""

from __future__ import annotations

import json

import numpy as np
import pytest
from models import Array, Weights, build, shrunk, widths
from onnx import ModelProto

import graph
from graph.reporting.inventory import inventory

IN = "float[N,3,8,8] x"
PAD = "pads=[1,1,1,1]"


def kept(model: ModelProto) -> list[tuple[str, str, int, list[str]]]:
    _, certificate = shrunk(model)
    return [(entry.reason, entry.op, entry.channels, entry.tensors) for entry in certificate.kept_zero]


@pytest.mark.parametrize(
    "way",
    [
        "d = Add(c, t)",
        "d = Add(t, c)",
        "r = Relu(c) d = Add(r, t)",
        "s = Sigmoid(t) d = Mul(s, c)",
        "n = BatchNormalization(t, ones, ones, ones, ones) d = Add(c, n)",
    ],
)
def test_an_op_that_holds_channels_through_others_is_named(way: str) -> None:
    w = Weights()
    model = build(
        f"({IN}) => (float[a,b,c,d] y) {{ a = Conv<{PAD}>(x, w1) t, i = TopK<axis=1>(a, six) "
        f"c = Conv<{PAD}>(x, w2) {way} y = Conv(d, w3) }}",
        w1=w(8, 3, 3, 3), w2=w(6, 3, 3, 3, zero=(1, 2)), w3=w(2, 6, 1, 1), six=np.array([6]),
        ones=np.ones(6, np.float32),
    )  # fmt: skip
    (top,) = [node.name or node.output[0] for node in model.graph.node if node.op_type == "TopK"]
    assert kept(model) == [("frozen", f"TopK:{top}", 2, ["w2[0]"])]


def test_an_input_that_is_added_holds_channels() -> None:
    w = Weights()
    model = build(
        f"(float[N,6,8,8] x) => (y) {{ c = Conv<{PAD}>(x, w1) d = Add(c, x) y = Conv(d, w2) }}",
        w1=w(6, 6, 3, 3, zero=(1, 2)), w2=w(2, 6, 1, 1),
    )  # fmt: skip
    assert kept(model) == [("input", "x", 2, ["w1[0]"])]


def test_a_weight_is_named_with_the_axis_that_makes_the_channels() -> None:
    w = Weights()
    model = build("(float[N,4] x) => (y) { a = MatMul(x, w1) y = Softmax(a) }", w1=w(4, 6, zero=(1, 2), axis=1))
    ((reason, op, channels, tensors),) = kept(model)
    assert (reason, op.partition(":")[0], channels, tensors) == ("frozen", "Softmax", 2, ["w1[1]"])


def broken(name: str, value: float) -> tuple[ModelProto, dict[str, Array]]:
    w = Weights()
    found = {"w1": w(8, 3, 3, 3, zero=(1, 2)), "w2": w(8, 8, 3, 3), "w3": w(2, 8, 1, 1)}
    found[name].flat[5] = value
    text = f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1) b = Relu(a) c = Conv<{PAD}>(b, w2) y = Conv(c, w3) }}"
    return build(text, **found), found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "op"), [("w1", "Conv:a"), ("w2", "Conv:c")])
def test_weights_that_are_not_finite_keep_zeros_and_are_named(name: str, op: str, value: float) -> None:
    model, before = broken(name, value)
    slim, certificate = shrunk(model)
    assert widths(slim) == {each: array.shape for each, array in before.items()}
    assert [(entry.op, entry.why) for entry in certificate.frozen] == [(op, f"{name} is not finite")]
    assert [(entry.reason, entry.op) for entry in certificate.kept_zero] in ([], [("frozen", "Conv:c")])
    assert inventory(graph.analyse(model)).not_finite == [name]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bias_that_is_not_finite_keeps_its_own_channel_only(value: float) -> None:
    w = Weights()
    bias = np.zeros(8, np.float32)
    bias[1] = value
    model = build(
        f"({IN}) => (y) {{ a = Conv<{PAD}>(x, w1, b1) b = Relu(a) y = Conv(b, w2) }}",
        w1=w(8, 3, 3, 3, zero=(1, 2)), b1=bias, w2=w(2, 8, 1, 1),
    )  # fmt: skip
    slim, certificate = shrunk(model)
    assert widths(slim)["w1"] == (7, 3, 3, 3)
    assert certificate.frozen == []


def test_a_certificate_is_json_with_a_schema() -> None:
    model, _ = broken("w1", 1.0)
    content = json.loads(graph.shrink(model)[1].json())
    assert content["schema"] == 1
    assert content.keys() >= {"input", "output", "removed", "kept_zero", "frozen", "check"}
    (entry,) = content["removed"]
    assert [len(places) for places in entry["indices"]] == [2, 2]
    assert entry["tensors"] == ["w1[0]", "w2[1]"]
