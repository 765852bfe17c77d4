"""The options of the engine on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli.app import app
from compress.train import TrainConfig

BASE = ["train", "--model", "tiny_net:TinyNet", "--device", "cpu", "--epochs", "1", "--train-limit", "100"]


def test_every_option_arrives(tmp_path: Path) -> None:
    options = ["--ema", "0.9", "--accumulate", "2", "--label-smoothing", "0.1", "--clip-norm", "2", "--deterministic"]
    run = tmp_path / "run"
    done = CliRunner().invoke(app, [*BASE, *options, "--log", "none", "--no-compile", "--out", str(run)])
    assert done.exit_code == 0, done.output
    config = TrainConfig.from_toml(run / "config.toml")
    assert (config.ema, config.accumulate, config.label_smoothing, config.clip_norm) == (0.9, 2, 0.1, 2.0)
    assert (config.deterministic, config.compile, config.from_scratch, config.log) == (True, False, False, "none")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--ema", "1"], "ema = 1.0"),
        (["--label-smoothing", "-0.1"], "label_smoothing = -0.1"),
        (["--from-scratch"], "give --init RUN and --method sgd"),
        (["--accumulate", "40"], "give a larger --batch-size"),
        (["--warmup", "0.1"], "--warmup is for a given --strength"),
        (["--log", "tensorbord"], "did you mean 'tensorboard'?"),
    ],
)
def test_mistakes_are_one_line_with_status_2(options: list[str], expected: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*BASE, *options, "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert expected in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
