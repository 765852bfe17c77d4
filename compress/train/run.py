"""The folder of a run: what is in it, how it is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from compress.errors import UserError
from compress.files import write_text
from compress.models import build
from compress.train import checkpoint
from compress.train.config import TrainConfig

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.jsonl"
# Settings that may differ when a run is resumed elsewhere.
PORTABLE = {"out", "device", "data_dir", "init", "distill", "log"}


@dataclass(frozen=True)
class Summary:
    """What came out of a training; accuracies are fractions, of the weights after the last epoch.

    Where the task is no classification, its score stands in the place of the accuracy, and ``metric`` says which it is.

    Attributes:
        train_accuracy: over the last epoch, on augmented images, while the weights moved.
        accuracy_before_zeroing: on the held-out images, before the method's final zeros were written.
        validation_accuracy: on the held-out images, at the end.
        test_accuracy: on the test set, read once.
        zeros: fraction of the BatchNorm channels that are exactly zero, or of what else the method works on.
        target: the fraction asked for; None where the method pursues none, or has a given strength instead.
        reached_by: "prox": by training itself; "threshold": the smallest scales were cut off; "": no target.
        widths: channels alive and channels in all, per BatchNorm layer or family of coupled groups.
        seconds: of all epochs that count, with their evaluation.
        metric: what the accuracies are: "accuracy", or "F1" of pixels.
        figures: all that the task says of the test set, by name.
    """

    model: str
    data: str
    method: str
    seed: int
    epochs: int
    train_accuracy: float
    accuracy_before_zeroing: float
    validation_accuracy: float
    test_accuracy: float
    zeros: float
    target: float | None
    reached_by: str
    widths: dict[str, tuple[int, int]]
    seconds: float
    device: str
    schema: int = 1
    metric: str = "accuracy"
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class Run:
    """A run's folder, its log so far, and its summary if it has come to its end.

    Of several processes only the first one ``writes``; what the others would write is the same.
    """

    folder: Path
    writes: bool = True
    metrics: list[dict[str, Any]] = field(default_factory=list)
    summary: Summary | None = None

    @property
    def checkpoint(self) -> Path:
        """File with all that a resumed training needs."""
        return self.folder / CHECKPOINT

    def begin(self, config: TrainConfig) -> None:
        """Write the configuration of a new run.

        Raises:
            UserError: the folder already holds a run, or cannot be written.
        """
        if self.writes and self.checkpoint.exists():
            raise UserError(f"{self.folder} already holds a run: continue it with --resume or choose another --out")
        self._write(self.folder / "config.toml", config.to_toml())
        self._write(self.folder / METRICS, "")

    def reopen(self, config: TrainConfig) -> dict[str, Any]:
        """The checkpoint of an earlier training with the same settings, and its log.

        Raises:
            UserError: there is none, or a setting differs.
        """
        if not self.checkpoint.exists():
            raise UserError(f"nothing to resume in {self.folder}: it has no {CHECKPOINT}")
        state = read_run(self.folder)
        earlier = TrainConfig.from_dict(state["config"], str(self.checkpoint))
        before, now = (json.loads(each.model_dump_json()) for each in (earlier, config))
        for key in now:
            if key not in PORTABLE and before[key] != now[key]:
                raise UserError(
                    f"cannot resume {self.folder}: {key} was {before[key]!r} and is now {now[key]!r}; "
                    "give the same settings, or start a new run in another --out"
                )
        self.metrics = [line for line in self._read_log() if line["epoch"] <= state["epoch"]]
        if "summary" in state:
            self.summary = Summary(**state["summary"])
            self._report(self.summary)  # it may have been lost where the disk was full
        return state

    def _read_log(self) -> list[dict[str, Any]]:
        path = self.folder / METRICS
        try:
            return [json.loads(line) for line in path.read_text().splitlines()]
        except (OSError, ValueError) as error:
            raise UserError(f"cannot resume {self.folder}: {METRICS} is missing or damaged ({error})") from error

    def log(self, line: Mapping[str, Any]) -> None:
        """Add the figures of an epoch; the file is always whole."""
        self.metrics.append(dict(line))
        self._write(self.folder / METRICS, "".join(json.dumps(line) + "\n" for line in self.metrics))

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        if self.writes:
            checkpoint.save(self.checkpoint, state)

    def conclude(self, summary: Summary, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by the final one, which holds the summary too, and write the summary."""
        self.save({**state, "summary": asdict(summary)})
        self._report(summary)

    def _report(self, summary: Summary) -> None:
        self._write(self.folder / "summary.json", json.dumps(asdict(summary), indent=2) + "\n")

    def _write(self, path: Path, text: str) -> None:
        if self.writes:
            write_text(path, text)


def read_run(path: Path) -> dict[str, Any]:
    """The checkpoint of a run, from its folder or from the file itself.

    Raises:
        UserError: there is none, or it was not written by a training of this project.
    """
    path = path / CHECKPOINT if path.is_dir() else path
    state = checkpoint.read(path)
    if not {"config", "model", "shape", "classes"} <= state.keys():
        raise UserError(f"{path} holds weights but no run: export it with the model's name given")
    return state


def load_run(path: Path) -> tuple[nn.Module, TrainConfig, tuple[int, int, int]]:
    """A run: its network in evaluation mode on the CPU, its configuration, and (C, H, W) of its images.

    Args:
        path: the run's folder, or its checkpoint.

    Raises:
        UserError: there is no run, or its model cannot be built here.
    """
    state = read_run(path)
    config = TrainConfig.from_dict(state["config"], str(path))
    channels, height, width = state["shape"]
    model = build(config.model, classes=state["classes"], channels=channels)
    checkpoint.load_weights(model, state["model"], str(path), config.model)
    return model.eval(), config, (channels, height, width)
