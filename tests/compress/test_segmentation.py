"""Segmentation from training to a shrunk model that is as good, pixel by pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import vessels

from compress.bridge.exporting import export_file, resolve
from compress.data import load
from compress.errors import UserError
from compress.progress import Silent
from compress.report.reporting import report
from compress.report.views import Evidence
from compress.shrinking import shrink_file
from compress.tasks import task_of
from compress.train import TrainConfig, load_run, train
from compress.verify.verifying import accuracy_figures, verify_files

FIGURES = ["F1", "IoU", "accuracy", "sensitivity", "specificity", "AUC"]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(**changes: Any) -> TrainConfig:
        small = {"model": "vessels:net", "data": "vessels:source", "out": tmp_path / "run", "device": "cpu"}
        return TrainConfig.from_dict({**small, "epochs": 24, "batch_size": 4, "schedule": "cosine", **changes})

    return make


class Interruption(Silent):
    """Presses Ctrl-C in the second epoch."""

    steps = 0

    def update(self, n: int = 0, **figures: float) -> None:
        self.steps += n
        if self.steps == 5:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", ["proximal-slimming", "joint-sparsity"])
def test_the_shrunk_model_is_as_good_to_the_pixel(
    method: str, config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    summary = train(config(method=method, target=0.5))
    assert (summary.metric, list(summary.figures)) == ("F1", FIGURES)
    assert summary.figures["F1"] == summary.test_accuracy > 0.7
    assert summary.figures["AUC"] > 0.95
    model, slim = tmp_path / "model.onnx", tmp_path / "slim.onnx"
    export_file(resolve(str(tmp_path / "run")), model, opset=20)
    shrunk = shrink_file(model, slim, certificate=tmp_path / "slim.json", data="vessels:source")
    assert shrunk.certificate.output.parameters < 0.7 * shrunk.certificate.input.parameters
    verified = verify_files(slim, model, data="vessels:source")
    assert not verified.parity.beyond(verified.noise)
    figures = accuracy_figures(verified.accuracy)
    assert figures["lost"] == figures["gained"] == 0
    for side in ("reference", "candidate"):
        assert {n: v for n, v in figures["figures"][side].items() if n != "AUC"} == {
            name: summary.figures[name] for name in FIGURES[:-1]
        }
        assert figures["figures"][side]["AUC"] == pytest.approx(summary.figures["AUC"], abs=1e-4)


def test_the_run_says_what_it_measured(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    summary = train(config(epochs=2))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["figures"] == summary.figures
    model, _, shape = load_run(tmp_path / "run")
    assert shape == vessels.SPEC.shape
    images = load("vessels:source").test
    answers = [(model(torch.from_numpy(x)).detach(), torch.from_numpy(y)) for x, y in images.batches(2, vessels.SPEC)]
    found = task_of(vessels.SPEC).figures(answers)
    assert found == pytest.approx(summary.figures, abs=1e-3)
    page = report(tmp_path / "run", Evidence())
    assert all(f"test {name}" in page for name in FIGURES)


def test_resumed_is_as_if_never_stopped(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    through, stopped = (config(epochs=3, out=tmp_path / name) for name in "ab")
    expected = train(through)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, progress=Interruption())
    found = train(stopped, resume=True)
    assert {**vars(found), "seconds": 0} == {**vars(expected), "seconds": 0}
    ours, theirs = (torch.load(run.out / "checkpoint.pt", weights_only=True)["model"] for run in (through, stopped))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mix": "mixup"}, "--mix mixup works on one label per image"),
        ({"model": "resnet20"}, r"into logits \[2, 2, 32, 32\], not \[2, 2\]"),
        ({"model": "vessels:net", "data": "digits"}, r"into logits \[2, 10\], not \[2, 10, 8, 8\]"),
        ({"data": "drive"}, "drive needs --data-dir"),
    ],
)
def test_mistakes_are_one_clear_line(
    changes: dict[str, Any], expected: str, config: Callable[..., TrainConfig]
) -> None:
    with pytest.raises(UserError, match=expected):
        train(config(**changes))
