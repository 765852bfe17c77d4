"""Other people's logs, with stand-ins for their packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.errors import UserError
from compress.train import TrainConfig, train


class Recorder:
    """Takes any call and remembers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Recorder:
            self.calls.append((name, args, kwargs))
            return self

        return call

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


def config(out: Path, **changes: Any) -> TrainConfig:
    small = {"model": "tiny_net:TinyNet", "epochs": 2, "train_limit": 128, "out": out}
    return TrainConfig.from_dict({**small, "device": "cpu", **changes})


def logged(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_gets_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, folders = Recorder(), []
    monkeypatch.setitem(sys.modules, "tensorboard", SimpleNamespace())
    fake = SimpleNamespace(SummaryWriter=lambda folder: folders.append(folder) or writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    train(config(tmp_path / "run", log="tensorboard"))
    assert folders == [str(tmp_path / "run" / "tensorboard")]
    scalars = {(args[0], args[2]): args[1] for args, _ in writer.of("add_scalar")}
    for line in logged(tmp_path / "run"):
        assert all(scalars[name, line["epoch"]] == value for name, value in line.items())
    assert writer.calls[-1][0] == "close"


@pytest.mark.parametrize(("name", "metrics", "end"), [("mlflow", "log_metrics", "end_run"), ("wandb", "log", "finish")])
def test_mlflow_and_wandb(name: str, metrics: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Recorder()
    monkeypatch.setitem(sys.modules, name, package)
    train(config(tmp_path / "run", log=name))
    steps = [(kwargs["step"], args[0]) for args, kwargs in package.of(metrics)]
    assert steps == [(line["epoch"], line) for line in logged(tmp_path / "run")]
    assert package.calls[-1][0] == end


def test_an_interrupted_training_is_closed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Recorder()
    monkeypatch.setitem(sys.modules, "mlflow", package)
    with pytest.raises(UserError):
        train(config(tmp_path / "run", log="mlflow", lr=1e30))
    assert package.calls[-1][0] == "end_run"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("tensorbord", "did you mean 'tensorboard'?"), ("mlflow", "pip install 'onnx-compress[mlflow]'")],
)
def test_mistakes_are_one_clear_line_and_leave_nothing(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError) as caught:
        train(config(tmp_path / "run", log=name))
    assert expected in str(caught.value)
    assert not (tmp_path / "run").exists()
