"""What another run left, trained further: with its weights, or anew from random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from compress.errors import UserError
from compress.progress import Silent
from compress.train import TrainConfig, train


def config(out: Path, **changes: Any) -> TrainConfig:
    small = {"model": "tiny_net:TinyNet", "epochs": 3, "train_limit": 256, "lr": 0.05, "out": out}
    return TrainConfig.from_dict({**small, "device": "cpu", **changes})


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["model"]


class Stop(Silent):
    """Presses Ctrl-C after so many epochs."""

    def __init__(self, after: int) -> None:
        self.after = after

    def update(self, n: int = 0, **figures: float) -> None:
        if figures.get("epoch") == self.after or (self.after == 0 and n):
            raise KeyboardInterrupt


def test_from_scratch_keeps_the_zeros_and_nothing_else(tmp_path: Path) -> None:
    pruned = train(config(tmp_path / "pruned", method="network-slimming"))
    scratch = config(tmp_path / "scratch", method="sgd", init=tmp_path / "pruned", from_scratch=True)
    with pytest.raises(KeyboardInterrupt):
        train(scratch, progress=Stop(0))
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "dense", method="sgd"), progress=Stop(0))
    begun, dense, before = (weights(tmp_path / name) for name in ("scratch", "dense", "pruned"))
    assert torch.equal(begun["conv1.weight"], dense["conv1.weight"])  # the seed's random weights
    assert torch.equal(begun["bn1.weight"] == 0, before["bn1.weight"] == 0)
    assert set(begun["bn1.weight"].tolist()) == {0.0, 1.0}
    summary = train(scratch, resume=True)
    assert summary.widths == pruned.widths
    assert torch.equal(weights(tmp_path / "scratch")["bn2.bias"] == 0, before["bn2.weight"] == 0)


def test_a_resumed_scratch_run_is_as_if_never_stopped(tmp_path: Path) -> None:
    train(config(tmp_path / "pruned", method="network-slimming"))
    a, b = (
        config(tmp_path / name, method="sgd", init=tmp_path / "pruned", from_scratch=True, seed=3)
        for name in ("a", "b")
    )
    expected = train(a)
    with pytest.raises(KeyboardInterrupt):
        train(b, progress=Stop(1))
    assert train(b, resume=True).widths == expected.widths
    assert all(torch.equal(value, weights(b.out)[name]) for name, value in weights(a.out).items())


@pytest.mark.parametrize("changes", [{"method": "sgd"}, {"method": "network-slimming", "init": "x.pt"}])
def test_from_scratch_needs_a_run_and_plain_training(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --init RUN and --method sgd"):
        train(config(tmp_path / "run", from_scratch=True, **changes))


def test_fine_tuning_without_batch_norm_counts_the_groups(tmp_path: Path) -> None:
    plain = {"model": "tiny_net:Plain", "lr": 0.02}
    pruned = train(config(tmp_path / "pruned", method="group-slimming", epochs=4, **plain))
    tuned = config(tmp_path / "tuned", method="sgd", init=tmp_path / "pruned", **plain)
    with pytest.raises(KeyboardInterrupt):
        train(tuned, progress=Stop(1))
    summary = train(tuned, resume=True)
    assert (summary.zeros, summary.widths) == (pruned.zeros, pruned.widths)
    assert summary.zeros == 0.5
