"""Which channel counts pay."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, checker
from onnx_files import network

from compress.bench.widths import LAYERS, RUNGS, STEP, Form, Ladder, forms, ladders, rungs
from compress.progress import Silent
from runtime import Settings, open_session, random_feeds

ONE = Settings(threads=1)
DENSE = Form("Conv", (("pads", (1, 1, 1, 1)), ("strides", (2, 2))), (2, 24, 9, 9), (49, 24, 3, 3))
DEPTHWISE = Form("Conv", (("pads", (1, 1, 1, 1)),), (1, 32, 8, 8), (32, 1, 3, 3))
PRODUCT = Form("MatMul", (), (3, 40), (40, 20))


def staircase(width: int) -> float:
    """Blocks of 16, and what is no full block costs more than one."""
    return -(-width // 16) * (1.3 if width % 16 else 1.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(network(alive=49), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def width(model: ModelProto) -> int:
    return int(model.graph.name.rpartition("-")[2])


def test_every_kind_of_layer_is_timed_once_at_several_widths(model: Path) -> None:
    def timer(candidate: ModelProto, reference: ModelProto) -> float:
        return staircase(width(candidate)) / staircase(width(reference))

    found = {each.form.width: each for each in ladders(model, settings=ONE, progress=Silent(), timer=timer)}
    assert set(found) == {8, 49, 10}
    assert found[49].form.op == "Conv" and found[49].form.weight == (49, 8, 3, 3) and len(found[49].names) == 1
    assert found[49].free == 64 and found[49].paying[:2] == (48, 32)
    assert found[8].free == 16 and found[8].paying == ()
    written = found[49].to_dict()
    assert written["width"] == 49 and written["costs_no_more"] == 64 and written["times"]["49"] == 1.0


def test_widths_pay_only_if_they_are_faster_than_all_that_are_wider() -> None:
    times = {64: 1.2, 49: 1.0, 48: 0.7, 40: 0.69, 32: 0.5, 24: 0.6}
    assert Ladder(DENSE, ("a",), times).paying == (48, 32)
    assert Ladder(DENSE, ("a",), times).free == 49


@pytest.mark.parametrize("size", [1, 5, 16, 49, 64, 1000, 2048])
def test_the_rungs_reach_the_next_full_block(size: int) -> None:
    found = rungs(size)
    assert size not in found and 0 < len(found) <= RUNGS + 2 and min(found) > 0
    full = -(-size // STEP) * STEP
    assert full == size or full in found
    assert max(found) <= full and min(found) >= size // 4


@pytest.mark.parametrize("form", [DENSE, DEPTHWISE, PRODUCT])
@pytest.mark.parametrize("size", [7, 64])
def test_a_layer_can_be_built_in_any_width(form: Form, size: int) -> None:
    model = form.network(size)
    checker.check_model(model)
    session = open_session(model.SerializeToString(), ONE)
    session.run(random_feeds(session))
    assert width(model) == size


def test_only_layers_with_weights_of_their_own_count() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,4,6,6] x) => (float[1,4,6,6] y)
    <float[4,2,1,1] grouped = {1, 1, 1, 1, 1, 1, 1, 1}, float[4,1,1,1] depth = {1, 1, 1, 1}>
    { a = Conv<group = 2>(x, grouped) b = Conv<group = 4>(a, depth) c = MatMul(b, b) y = Relu(c) }"""
    found = forms(onnx.parser.parse_model(text), {"x": (1, 4, 6, 6)})
    assert [form.depthwise for form in found] == [True] and len(found) <= LAYERS


def test_a_real_measurement(model: Path) -> None:
    found = ladders(model, settings=ONE, progress=Silent())
    assert all(time > 0 for each in found for time in each.times.values())
