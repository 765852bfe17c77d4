"""ONNX files with something wrong in them: one line that names the place, status 2, and nothing written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_files import network
from shell import Cli

VERBS = ["shrink bad.onnx -o precious.onnx", "prune bad.onnx -o precious.onnx --keep 0.5", "inspect bad.onnx"]

Edit = Callable[[ModelProto], object]


def node(model: ModelProto, output: str) -> onnx.NodeProto:
    return next(each for each in model.graph.node if output in each.output)


def weight(model: ModelProto, name: str) -> TensorProto:
    return next(each for each in model.graph.initializer if each.name == name)


def reads_nothing(model: ModelProto) -> None:
    node(model, "r").input[0] = "nowhere"


def cycle(model: ModelProto) -> None:
    node(model, "a").input[0] = "s"


def two_makers(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["a"], ["c"], name="again"))


def shadowed_weight(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["a"], ["w2"], name="shade"))


def two_weights(model: ModelProto) -> None:
    model.graph.initializer.append(weight(model, "w2"))


def other_channels(model: ModelProto) -> None:
    weight(model, "w2").CopyFrom(numpy_helper.from_array(np.ones((16, 7, 3, 3), np.float32), "w2"))


def short_weight(model: ModelProto) -> None:
    weight(model, "w1").raw_data = weight(model, "w1").raw_data[:-4]


def unknown_type(model: ModelProto) -> None:
    weight(model, "w1").data_type = 99


def unknown_op(model: ModelProto) -> None:
    node(model, "r").op_type = "Rectify"


def newer_op(model: ModelProto) -> None:
    node(model, "r").op_type, model.opset_import[0].version = "Gelu", 19


def new_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 999


def other_opset(model: ModelProto) -> None:
    model.opset_import[0].domain = "ai.onnx.ml"


def no_nodes(model: ModelProto) -> None:
    del model.graph.node[:]


def no_outputs(model: ModelProto) -> None:
    del model.graph.output[:]


def empty_constant(model: ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], name="void"))
    node(model, "a").input[2] = "k"


def branch_inputs(model: ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["p"])], "branch",
        [helper.make_tensor_value_info("odd", 1, None)], [helper.make_tensor_value_info("p", 1, None)],
    )  # fmt: skip
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    place = next(index for index, each in enumerate(model.graph.node) if each.output[0] == "r")
    choice = helper.make_node("If", ["flag"], ["r"], name="choice", then_branch=branch, else_branch=branch)
    model.graph.node[place].CopyFrom(choice)


BROKEN: list[tuple[Edit, str]] = [
    (reads_nothing, "node Relu:r reads 'nowhere'"),
    (cycle, "node Conv:a reads 's'.*cycle"),
    (two_makers, "node Relu:again computes 'c'.*node Conv:c"),
    (shadowed_weight, "node Relu:shade computes 'w2'"),
    (two_weights, "'w2'"),
    (other_channels, "node Conv:c has inconsistent shapes"),
    (short_weight, "'w1'"),
    (unknown_type, "'w1'"),
    (unknown_op, "node Rectify:r.*opset 20"),
    (newer_op, "node Gelu:r.*opset 19"),
    (new_opset, "opset 999.*pip install -U onnx"),
    (other_opset, "opset"),
    (no_nodes, "no nodes"),
    (no_outputs, "no outputs"),
    (empty_constant, "node Constant:void has no value"),
    (branch_inputs, "node If:choice has a graph inside with 1 inputs"),
]


@pytest.fixture
def refused(cli: Cli, files: Callable[[], dict[str, bytes]]) -> Callable[[str], str]:
    def check(line: str) -> str:
        before = files()
        result = cli(line)
        assert result.status == 2, result
        assert re.fullmatch(r"compress: [^\n]+\n", result.err), result.err
        assert files() == before
        return result.err

    return check


def write(model: ModelProto) -> None:
    Path("bad.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("edit", "expected"), BROKEN, ids=[edit.__name__ for edit, _ in BROKEN])
def test_broken_models(edit: Edit, expected: str, verb: str, refused: Callable[[str], str]) -> None:
    model = network()
    edit(model)
    write(model)
    message = refused(verb)
    assert re.search(expected, message), message


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", ["missing", "truncated", "above", "absolute", "link"])
def test_external_data(way: str, verb: str, here: Path, refused: Callable[[str], str]) -> None:
    folder = here / "inside"
    folder.mkdir()
    path, data = folder / "bad.onnx", folder / "weights.bin"
    onnx.save_model(network(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    location = {"above": "../weights.bin", "absolute": str(here / "weights.bin")}.get(way, "weights.bin")
    model = onnx.load(str(path), load_external_data=False)
    for entry in (entry for tensor in model.graph.initializer for entry in tensor.external_data):
        entry.value = location if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    if way == "truncated":
        data.write_bytes(data.read_bytes()[:100])
    else:
        data.rename(here / "weights.bin")
    if way == "link":
        data.symlink_to(here / "weights.bin")
    message = refused(verb.replace("bad.onnx", "inside/bad.onnx"))
    outside = way in ("above", "absolute", "link")
    assert location in message and ("outside the model's folder" in message) == outside


@pytest.mark.parametrize("line", ["shrink apart.onnx -o weights.bin", "inspect apart.onnx --json weights.bin"])
def test_weights_of_the_source_are_not_overwritten(line: str, cli: Cli) -> None:
    onnx.save_model(network(), "apart.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = Path("weights.bin").read_bytes()
    result = cli(line)
    assert result.status == 2 and "weights.bin holds the weights of apart.onnx" in result.err
    assert Path("weights.bin").read_bytes() == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_kept_and_reported(value: float, cli: Cli) -> None:
    """0 * inf is not 0: what such a weight reads stays."""
    model = network()
    array = numpy_helper.to_array(weight(model, "w2")).copy()
    array[0, 0] = value
    weight(model, "w2").CopyFrom(numpy_helper.from_array(array, "w2"))
    write(model)
    assert cli("shrink bad.onnx -o slim.onnx --no-verify").status == 0
    told = json.loads(Path("slim.json").read_text())
    assert any(entry["op"] == "Conv:c" and "not finite" in entry["why"] for entry in told["frozen"])
    assert told["output"]["parameters"] == told["input"]["parameters"]
    assert "w2" in cli("inspect bad.onnx").out


@pytest.mark.parametrize("names", [("w1", "b1"), ("w2", "b2"), ("w1", "b1", "w2", "b2", "w3", "b3"), ("w3", "b3")])
def test_a_model_that_is_all_dead(names: tuple[str, ...], cli: Cli) -> None:
    model = network()
    for name in names:
        tensor = weight(model, name)
        tensor.CopyFrom(numpy_helper.from_array(np.zeros(tuple(tensor.dims), np.float32), name))
    write(model)
    result = cli("shrink bad.onnx -o slim.onnx")
    assert result.status == 0, result
    onnx.checker.check_model("slim.onnx", full_check=True)
    told = json.loads(Path("slim.json").read_text())
    assert told["output"]["parameters"] < told["input"]["parameters"] and told["check"]["inputs"] > 0
    assert cli("inspect bad.onnx").status == cli("prune bad.onnx -o zeroed.onnx --keep 0.5").status == 0


def test_what_onnxruntime_cannot_run_is_shrunk_without_it(cli: Cli, refused: Callable[[str], str]) -> None:
    model = network()
    node(model, "f").CopyFrom(helper.make_node("Odd", ["p"], ["f"], name="odd", domain="org.example"))
    model.opset_import.append(helper.make_opsetid("org.example", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, ["N", 16]))
    write(model)
    assert "--no-verify" in refused("shrink bad.onnx -o precious.onnx")
    assert cli("shrink bad.onnx -o slim.onnx --no-verify").status == 0
    told = json.loads(Path("slim.json").read_text())
    assert told["output"]["parameters"] < told["input"]["parameters"]
    assert any(entry["op"] == "Odd:odd" for entry in told["frozen"])


def test_a_long_chain(cli: Cli) -> None:
    """In whatever order the file has its nodes; no limit of recursion, no time that grows with the square."""
    count = 4_000
    model = network()
    chain = [helper.make_node("Neg", [f"t{place}"], [f"t{place + 1}"]) for place in range(count)]
    node(model, "r").output[0], node(model, "c").input[0] = "t0", f"t{count}"
    model.graph.node.extend(chain[::-1])
    write(model)
    assert cli("shrink bad.onnx -o slim.onnx --no-verify").status == 0
    assert json.loads(Path("slim.json").read_text())["removed"]
