from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two convolutions with 3 dead channels of 8 between them."""
    made = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        two (float[N,3,8,8] x) => (float[N,4,8,8] y) {
            a = Conv<pads=[1,1,1,1]>(x, first)
            b = Relu(a)
            y = Conv<pads=[1,1,1,1]>(b, second)
        }"""
    )
    random = np.random.default_rng(0)
    for name, shape in (("first", (8, 3, 3, 3)), ("second", (4, 8, 3, 3))):
        weight = random.standard_normal(shape).astype(np.float32)
        if name == "first":
            weight[:3] = 0
        made.graph.initializer.append(numpy_helper.from_array(weight, name))
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_shrink_from_python(model: Path, tmp_path: Path) -> None:
    printed = run("shrink_from_python.py", model, tmp_path / "slim.onnx")
    certificate = json.loads(printed[printed.index("{") :])
    assert [(entry["reason"], entry["channels"]) for entry in certificate["removed"]] == [("zero", 3)]
    assert certificate["check"]["max_rel"] < 1e-5
    assert onnx.load(tmp_path / "slim.onnx").graph.initializer[0].dims[0] == 5


def test_a_rule_from_outside_lets_channels_through() -> None:
    without, with_rule = run("add_a_rule.py").splitlines()
    assert "[16, 8]" in without
    assert "SoftCap" in without
    assert "[6, 8]" in with_rule
    assert "nothing" in with_rule


def test_a_penalty_from_outside_trains(tmp_path: Path) -> None:
    assert run("add_a_penalty.py", tmp_path / "run").startswith("30% of the channels are zero")


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_have_no_syntax_errors(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("example", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_examples_are_short(example: Path) -> None:
    if example.is_file():
        assert len(example.read_text().splitlines()) < 60
