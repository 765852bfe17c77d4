"""Two processes train as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from two_processes import METHODS, config, plain, refined

from compress.errors import UserError
from compress.train import distributed, train


@dataclass
class Outcome:
    folder: Path
    found: list[dict[str, Any]]
    printed: str
    errors: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All that two processes did, in one start."""
    folder = tmp_path_factory.mktemp("two")
    here = Path(__file__).parent
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, here / "two_processes.py", folder],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    return Outcome(folder, found, done.stdout, done.stderr)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["model"]


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def assert_close(ours: Path, theirs: Path, *, but: str = "running|tracked") -> None:
    ours_, theirs_ = weights(ours), weights(theirs)
    for name in ours_:
        if not any(part in name for part in but.split("|")):
            assert torch.allclose(ours_[name], theirs_[name], atol=1e-5), name


def test_without_batch_norm_the_weights_and_figures_are_those_of_one_process(two: Outcome, tmp_path: Path) -> None:
    train(plain(tmp_path / "one"))
    assert two.found[0]["size"] == 2
    assert_close(two.folder / "plain", tmp_path / "one")
    for ours, theirs in zip(log(two.folder / "plain"), log(tmp_path / "one"), strict=True):
        assert {k: v for k, v in ours.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in theirs.items() if k != "seconds"}, rel=1e-4
        )


def test_labels_are_refined_as_by_one_process(two: Outcome, tmp_path: Path) -> None:
    train(refined(tmp_path / "one", two.folder / "plain"))
    assert_close(two.folder / "refined", tmp_path / "one")
    ours, theirs = (torch.load(out / "checkpoint.pt")["goal"] for out in (two.folder / "refined", tmp_path / "one"))
    assert torch.allclose(ours["soft"], theirs["soft"], atol=1e-5)


def test_with_batch_norm_they_are_those_of_one_process_in_two_passes(two: Outcome, tmp_path: Path) -> None:
    one = train(config(tmp_path / "one", accumulate=2))
    assert_close(two.folder / "normalised", tmp_path / "one")
    summary = json.loads((two.folder / "normalised" / "summary.json").read_text())
    assert (summary["zeros"], summary["widths"]) == (one.zeros, {k: list(v) for k, v in one.widths.items()})


@pytest.mark.parametrize("method", METHODS)
def test_a_step_leaves_all_processes_with_the_same_weights(method: str, two: Outcome) -> None:
    assert two.found[0]["spread"][method] == 0


def test_resumed_is_as_if_never_stopped(two: Outcome) -> None:
    through, stopped = weights(two.folder / "normalised"), weights(two.folder / "resumed")
    assert all(torch.equal(through[name], stopped[name]) for name in through)
    assert [line["epoch"] for line in log(two.folder / "resumed")] == [1, 2, 3]


def test_a_path_is_trained_by_both(two: Outcome) -> None:
    assert len(json.loads((two.folder / "path" / "path.json").read_text())["path"]) == 2


def test_an_error_of_one_is_told_once_and_ends_both(two: Outcome) -> None:
    for key, expected in (
        ("taken", "already holds a run"),
        ("one-lacks", "process 1: cifar10 needs"),
        ("small", "of 2 processes"),
    ):
        first, second = (found[key] for found in two.found)
        assert expected in first
        assert (first.split(":")[0], second.split(":")[0]) == ("UserError", "Told")
        assert first.split(": ", 1)[1] == second.split(": ", 1)[1]


def test_only_the_first_process_prints(two: Outcome) -> None:
    assert len(two.printed.splitlines()) == 1
    assert "test accuracy" in two.printed
    assert two.errors.count("epoch 1") == 1


# ---- what torchrun would not do ---------------------------------------------------------------------------

PLACE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("changes", "device", "expected"),
    [
        ({"RANK": None}, "cpu", "RANK is not"),
        ({"MASTER_PORT": "x"}, "cpu", "must be numbers"),
        ({"RANK": "2"}, "cpu", "RANK 2 must lie below WORLD_SIZE 2"),
        ({}, "cpu", "process 1 finds no others at 127.0.0.1:1"),
        ({"LOCAL_RANK": "99"}, "cuda", "finds only"),
        ({}, "cuda:0", "give --device cuda, not cuda:0"),
    ],
)
def test_a_bad_environment_is_one_line(
    changes: dict[str, str | None], device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "PATIENCE", timedelta(seconds=1))
    for name, value in {**PLACE, **changes}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught, distributed.joined(device):
        pass
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
