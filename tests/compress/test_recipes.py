"""The recipes name what exists, and are listed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli.app import app
from compress.data import DATA
from compress.files import read_toml
from compress.methods import METHODS
from compress.models.registry import MODELS
from compress.penalties import parse
from compress.train import TrainConfig

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "recipes"
RECIPES = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_what_exists(path: Path) -> None:
    config = TrainConfig.from_dict({**read_toml(path), "out": "run"}, str(path))
    assert config.model in MODELS
    assert config.data in DATA
    assert config.method in METHODS
    penalty = parse(config.penalty)
    penalty(0.0 if config.strength == "auto" else config.strength).check(config.lr)


def test_the_table_lists_every_recipe_once() -> None:
    listed = re.findall(r"^\| \[([^]]+)\]\(\1\.toml\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [path.stem for path in RECIPES]


def test_a_recipe_runs_and_options_override_it(tmp_path: Path) -> None:
    recipe = str(FOLDER / "proximal-gradient-resnet20-cifar10.toml")
    trial = ["--data", "digits", "--epochs", "1", "--train-limit", "150", "--device", "cpu"]
    done = CliRunner().invoke(app, ["train", "--config", recipe, *trial, "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["method"], summary["epochs"], summary["target"]) == ("proximal-gradient", 1, 0.37)
    assert summary["zeros"] == pytest.approx(0.37, abs=0.01)
