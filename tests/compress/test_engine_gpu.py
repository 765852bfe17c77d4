"""What only a GPU shows; skipped where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress import data
from compress.data.augment import Loader
from compress.train import TrainConfig, train
from compress.train.trainer import Trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def config(out: Path, **changes: Any) -> TrainConfig:
    small = {"model": "resnet20", "epochs": 4, "lr": 0.05, "device": "cuda", "schedule": "cosine", "out": out}
    return TrainConfig.from_dict({**small, **changes})


def loader(device: str) -> Loader:
    found = data.load("digits")
    return Loader(found.train, found.spec, 64, device, train=True)


def test_images_lie_on_the_gpu_and_are_augmented_there_as_on_the_cpu() -> None:
    memory = torch.cuda.memory_allocated()
    there = loader("cuda")
    assert torch.cuda.memory_allocated() - memory >= np.prod(data.load("digits").train.images.shape)
    for (images, labels), (expected, expected_labels) in zip(there.epoch(), loader("cpu").epoch(), strict=True):
        assert images.device.type == labels.device.type == "cuda"
        assert torch.allclose(images.cpu(), expected, atol=1e-6)
        assert torch.equal(labels.cpu(), expected_labels)


@pytest.mark.parametrize(
    "changes",
    [{"precision": "bf16"}, {"precision": "bf16", "compile": True}, {"ema": 0.99}, {"accumulate": 2}, {"mix": "both"}],
    ids=lambda changes: "-".join(changes),
)
def test_training_learns_and_meets_its_target(changes: dict[str, Any], tmp_path: Path) -> None:
    summary = train(config(tmp_path / "run", **changes))
    assert summary.zeros == pytest.approx(0.5, abs=0.01)
    assert summary.test_accuracy > 0.5


@pytest.mark.parametrize("method", ["proximal-slimming", "group-slimming", "variational-slimming", "granet"])
def test_deterministic_runs_agree_to_the_bit(method: str, tmp_path: Path) -> None:
    runs = [config(tmp_path / name, method=method, deterministic=True, epochs=2) for name in "ab"]
    for run in runs:
        train(run)
    a, b = (torch.load(run.out / "checkpoint.pt", weights_only=True)["model"] for run in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_of_a_gpu_goes_on_on_a_cpu(tmp_path: Path) -> None:
    run = config(tmp_path / "run", epochs=2)
    train(run)
    summary = json.loads((run.out / "summary.json").read_text())
    trainer = Trainer(run.model_copy(update={"device": "cpu"}), resumed=True)
    trainer.load_state_dict(torch.load(run.out / "checkpoint.pt", weights_only=True, map_location="cpu"))
    assert trainer.score(trainer.data.test) == pytest.approx(summary["test_accuracy"], abs=0.01)
