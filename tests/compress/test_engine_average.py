"""The average of the weights: what is evaluated and exported, with the zeros of the last ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.progress import Silent
from compress.train import TrainConfig, load_run, train
from compress.train.average import Average
from compress.train.trainer import Trainer


def config(out: Path, **changes: Any) -> TrainConfig:
    small = {"model": "tiny_net:TinyNet", "epochs": 4, "train_limit": 256, "ema": 0.9, "out": out}
    return TrainConfig.from_dict({**small, "device": "cpu", **changes})


def state(out: Path) -> dict[str, Any]:
    return torch.load(out / "checkpoint.pt", weights_only=True)


class Interruption(Silent):
    """Presses Ctrl-C after nine steps."""

    steps = 0

    def update(self, n: int = 0, **figures: float) -> None:
        self.steps += n
        if self.steps > 9:
            raise KeyboardInterrupt


def test_the_average_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    average = Average(layer, decay=0.5)
    expected = 1.0
    for step, weight in enumerate([3.0, -1.0, 2.0], start=1):
        layer.weight.data.fill_(weight)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    assert average.values()["weight"].item() == pytest.approx(expected)
    with average.in_place():
        assert layer.weight.item() == pytest.approx(expected)
    assert layer.weight.item() == 2.0


def test_zeros_are_kept_and_only_they() -> None:
    layer = nn.Linear(2, 1, bias=False)
    average = Average(layer, decay=0.99)
    layer.weight.data.copy_(torch.tensor([[0.0, 1e-30]]))
    average.update()
    assert (average.values()["weight"] == 0).tolist() == [[True, False]]


@pytest.mark.parametrize("method", ["proximal-slimming", "network-slimming", "proximal-gradient", "fggp"])
def test_the_exported_weights_are_the_average_with_the_methods_zeros(method: str, tmp_path: Path) -> None:
    run = config(tmp_path / "run", method=method)
    summary = train(run)
    plain = train(config(tmp_path / "plain", method=method, ema=0.0))
    assert summary.zeros == plain.zeros
    model, _, _ = load_run(run.out)
    last, _, _ = load_run(tmp_path / "plain")
    assert not torch.equal(model.linear.weight, last.linear.weight)
    for ours, theirs in zip(model.parameters(), last.parameters(), strict=True):  # a final threshold sees the average
        assert torch.equal(ours == 0, theirs == 0) or method == "network-slimming"
    trainer = Trainer(run)
    trainer.average = None
    trainer.model = model
    assert trainer.score(trainer.data.test) == summary.test_accuracy


def test_what_is_logged_is_of_the_average(tmp_path: Path) -> None:
    run = config(tmp_path / "run", method="sgd", lr=0.5, epochs=3, ema=0.999)
    with pytest.raises(KeyboardInterrupt):
        train(run, progress=Interruption())
    model, _, _ = load_run(run.out)
    trainer = Trainer(run)
    trainer.average = None
    trainer.model = model
    logged = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]
    assert trainer.score(trainer.data.validation) == logged[-1]["validation"]


def test_resumed_is_as_if_never_stopped(tmp_path: Path) -> None:
    train(config(tmp_path / "a"))
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "b"), progress=Interruption())
    assert state(tmp_path / "b")["trained"].keys() == state(tmp_path / "b")["model"].keys()
    train(config(tmp_path / "b"), resume=True)
    through, stopped = state(tmp_path / "a")["model"], state(tmp_path / "b")["model"]
    assert all(torch.equal(through[name], stopped[name]) for name in through)
