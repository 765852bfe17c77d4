"""One training, and what is left of the network."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import graph
from compress.data import ImageSet
from compress.train import TrainConfig, checkpoint
from compress.train.loop import fraction
from compress.train.recalibrate import recalibrate
from compress.train.trainer import Trainer
from graph.export import export
from runtime import Settings, open_session
from tests.benchmarks.methods.studies import WAYS, Study, Way

DENSE = "dense"


@dataclass(frozen=True)
class Row:
    """What came out; accuracies are fractions of the test images.

    Attributes:
        trained: before the zeros were written.
        cut: when they were, and nothing else had changed.
        accuracy: with BatchNorm's statistics measured anew where zeros were written, or trained further.
        shrunk: of the ONNX file in ONNX Runtime, after `shrink`.
        same: test images that the exported and the shrunk file put into the same class.
        parameters: of the file before and after.
        macs: of one image, before and after.
        by: what wrote the zeros, of "prox", "threshold" and "schedule".
        seconds: of training.
    """

    way: str
    target: float
    seed: int
    trained: float
    cut: float
    accuracy: float
    shrunk: float
    same: int
    images: int
    parameters: tuple[int, int]
    macs: tuple[int, int]
    zeros: float
    by: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """Where data, checkpoints and scratch files lie."""

    data: Path
    shared: Path
    scratch: Path

    def train(self, study: Study, name: str, target: float, seed: int) -> Row:
        """Train one way, and judge; the way `DENSE` is the same training without zeros."""
        way = Way("sgd") if name == DENSE else WAYS[name]
        config = self._config(study, way, target, seed)
        start = time.monotonic()
        trainer = Trainer(config)
        run(trainer)
        test = trainer.data.test
        trained = trainer.score(test)
        changed = trainer.method.finish()
        by, cut = trainer.method.reached_by(), trainer.score(test)
        if changed:
            recalibrate(trainer.model, trainer.batches.epoch(trainer.epoch))
        if way.tuned:
            trainer = self._tuned(study, way, trainer, config)
        seconds = time.monotonic() - start
        zeros = fraction(trainer.method.zeros())
        accuracy = trainer.score(test)
        shrunk, same, certificate = judged(trainer.model, test, trainer.data.spec)
        sizes = certificate.input, certificate.output
        return Row(
            name, target, seed, trained, cut, accuracy, shrunk, same, len(test),
            (sizes[0].parameters, sizes[1].parameters), (sizes[0].macs, sizes[1].macs), zeros, by, seconds,
        )  # fmt: skip

    def _config(self, study: Study, way: Way, target: float, seed: int) -> TrainConfig:
        options = study.options | way.options
        options["epochs"] -= round(way.tuned * options["epochs"])
        return TrainConfig(
            model=study.model,
            data=study.data,
            data_dir=self.data,
            method=way.method,
            penalty=way.penalty,
            target=target,
            seed=seed,
            train_limit=study.images,
            init=self.shared / "checkpoints" / study.checkpoint if study.checkpoint else None,
            device="cpu",
            out=self.scratch,
            **options,
        )

    def _tuned(self, study: Study, way: Way, trainer: Trainer, config: TrainConfig) -> Trainer:
        """Fine-tuned with its zeros for the rest of the study's epochs."""
        path = self.scratch / "pruned.pt"
        checkpoint.save(path, trainer.state_dict())
        rest = {"method": "sgd", "init": path, "epochs": study.options["epochs"] - config.epochs}
        tuned = Trainer(config.model_copy(update=rest))
        run(tuned)
        return tuned


def run(trainer: Trainer) -> None:
    """All epochs."""
    while trainer.epoch < trainer.config.epochs:
        trainer.train_epoch(lambda steps: None)


def judged(module: nn.Module, test: ImageSet, spec: Any) -> tuple[float, int, graph.Certificate]:
    """Accuracy of the exported and shrunk network, images that keep their class by shrinking, and the certificate."""
    model = export(module.cpu().eval(), torch.zeros(2, *spec.shape), name="net")
    slim, certificate = graph.shrink(model)
    settings = Settings(threads=1)
    sessions = [open_session(each.SerializeToString(), settings) for each in (model, slim)]
    right = same = 0
    for images, labels in test.batches(250, spec):
        before, after = (session.run({"input": images})["output"].argmax(1) for session in sessions)
        right += int((after == np.asarray(labels)).sum())
        same += int((after == before).sum())
    return right / len(test), same, certificate
