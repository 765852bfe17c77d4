"""Training on coupled groups, from the command's point of view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interruption import Interruption

from compress.errors import UserError
from compress.train import TrainConfig, train


def config(out: Path, **changes: Any) -> TrainConfig:
    usual = {"model": "tiny_net:Plain", "method": "group-slimming", "epochs": 4, "train_limit": 256, "lr": 0.02}
    return TrainConfig.from_dict({**usual, "device": "cpu", "out": out, **changes})


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["model"]


def test_a_method_for_batch_norm_names_the_one_that_needs_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no BatchNorm.*--method group-slimming"):
        train(config(tmp_path, method="proximal-slimming"))


def test_a_model_without_batch_norm_meets_the_target_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    summary = train(config(tmp_path / "a"))
    assert (summary.zeros, summary.widths["conv"][1], summary.widths["hidden"][1]) == (0.5, 8, 32)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path / "b"), progress=Interruption(9))
    train(config(tmp_path / "b"), resume=True)
    through, stopped = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(through[name], stopped[name]) for name in through)


def test_fine_tuning_keeps_the_zeros_of_groups(tmp_path: Path) -> None:
    train(config(tmp_path / "a"))
    train(config(tmp_path / "tuned", method="sgd", init=tmp_path / "a"))
    before, after = weights(tmp_path / "a"), weights(tmp_path / "tuned")
    assert all((after[name][before[name] == 0] == 0).all() for name in before)
    assert any((before[name] == 0).any() for name in before)
