"""Other people's logs of a training, beside its metrics.jsonl; each needs its own package."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from compress.errors import UserError
from compress.registry import Registry


class Tracker(Protocol):
    """Where the figures of every epoch go; made from a run's folder and its settings.

    Attributes:
        package: what it needs; empty for nothing.
    """

    package: ClassVar[str]

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None: ...

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """The figures of an epoch."""
        ...

    def close(self) -> None:
        """The training is over."""
        ...


TRACKERS: Registry[type[Tracker]] = Registry("log")


def tracker_named(name: str) -> type[Tracker]:
    """The tracker called ``name``, which can be made here.

    Raises:
        UserError: there is none, or its package is missing.
    """
    found = TRACKERS.get(name)
    try:
        if found.package:
            importlib.import_module(found.package)
    except ImportError as error:
        raise UserError(f"--log {name} needs a package: pip install 'onnx-compress[{name}]'") from error
    return found


@TRACKERS.register("none")
class Nowhere:
    """Keeps nothing: metrics.jsonl has it all."""

    package: ClassVar = ""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None: ...

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


@TRACKERS.register("tensorboard")
class TensorBoard:
    """Event files in the folder of the run: ``tensorboard --logdir RUN``."""

    package: ClassVar = "tensorboard"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """A scalar per figure, on disk at once."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


@TRACKERS.register("mlflow")
class MLflow:
    """A run of MLflow, where its environment says: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME."""

    package: ClassVar = "mlflow"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._mlflow = importlib.import_module("mlflow")
        self._mlflow.start_run(run_name=folder.name)
        self._mlflow.log_params(settings)

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """A metric per figure."""
        self._mlflow.log_metrics(dict(figures), step=epoch)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


@TRACKERS.register("wandb")
class Wandb:
    """A run of Weights & Biases, where its environment says: WANDB_PROJECT, WANDB_MODE."""

    package: ClassVar = "wandb"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._run = importlib.import_module("wandb").init(name=folder.name, dir=str(folder), config=dict(settings))

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """The figures of a step that is the epoch."""
        self._run.log(dict(figures), step=epoch)

    def close(self) -> None:
        """End the run."""
        self._run.finish()
