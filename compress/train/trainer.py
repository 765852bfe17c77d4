"""A training in progress: model, optimiser, method, and the place in the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compress import data as datasets
from compress.data import ImageSet
from compress.data.augment import Loader
from compress.errors import UserError
from compress.methods import METHODS, Plan
from compress.models import build
from compress.models.check import check_fits
from compress.penalties import parse
from compress.train import checkpoint
from compress.train.config import TrainConfig
from compress.train.evaluate import accuracy
from compress.train.mixing import mixing
from compress.train.recalibrate import recalibrate
from compress.train.schedule import learning_rate

EVALUATION_BATCH = 250


class Trainer:
    """Trains one epoch after the other; knows no method by name, and nothing of files.

    Args:
        config: what to train, with a definite device.
        resumed: the weights will come from `load_state_dict`, not from ``config.init``.

    Raises:
        UserError: a name is unknown, or the checkpoint, the data and the model do not fit.
    """

    def __init__(self, config: TrainConfig, *, resumed: bool = False) -> None:
        self.config = config
        self.method = METHODS.get(config.method)()
        penalty = parse(config.penalty)
        self.data = datasets.load(config.data, config.data_dir)
        spec = self.data.spec
        torch.manual_seed(config.seed)
        self.model = build(config.model, classes=spec.classes, channels=spec.shape[0])
        check_fits(self.model, spec.shape, spec.classes)
        if config.init and not resumed:
            found = checkpoint.weights(config.init)
            checkpoint.load_weights(self.model, found, str(config.init), config.model)
        self.model.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = self.data.train
        if config.train_limit:
            images = images.subset(np.arange(min(config.train_limit, len(images))))
        if len(images) < 2 or not len(self.data.validation):
            raise UserError(f"data set {config.data} is too small: it needs 2 training images and 1 held out")
        self.batches = self._loader(images, config.batch_size, train=True)
        self.mix = mixing(config.mix, spec.classes)
        self.steps = config.epochs * len(self.batches)
        self.epoch = 0
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
        plan = Plan(
            penalty=penalty,
            strength=None if config.strength == "auto" else config.strength,
            shape=spec.shape,
            target=config.target,
            steps=self.steps,
            rate=self.rate,
            floor=config.floor,
            warmup=config.warmup,
            beta=config.beta,
            fresh=config.init is None,
            seed=config.seed,
        )
        self.method.setup(self.model, self.optimizer, plan)

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        return learning_rate(step, self.steps, self.config.lr, self.config.schedule)

    @property
    def step(self) -> int:
        """Steps done, at an epoch's border."""
        return self.epoch * len(self.batches)

    def train_epoch(self, advance: Callable[[int], None]) -> tuple[float, float]:
        """Train the next epoch, with ``advance(1)`` after every step.

        Returns:
            Mean loss and accuracy of its images as they were trained on, while the weights moved.

        Raises:
            UserError: the loss is no longer finite.
        """
        self.model.train()
        total = torch.zeros(2, dtype=torch.float64, device=self.config.device)
        seen = 0
        for step, (images, labels) in enumerate(self.batches.epoch(self.epoch), self.step):
            logits, loss = self._train_step(images, labels, self.rate(step))
            total += torch.stack([loss.detach() * len(labels), (logits.argmax(1) == labels).sum()])
            seen += len(labels)
            advance(1)
        loss_sum, correct = total.tolist()
        if not math.isfinite(loss_sum):
            raise UserError(f"the loss is no longer finite in epoch {self.epoch + 1}: try a lower --lr")
        self.epoch += 1
        return loss_sum / seen, correct / seen

    def _train_step(self, images: Tensor, labels: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        images, targets = self.mix(images, labels)
        with self._autocast():
            logits = self.model(images).float()
        loss = F.cross_entropy(logits, targets)
        torch.autograd.backward(loss + self.method.loss_terms(self.model, logits))
        self.method.after_backward()
        self.optimizer.step()
        self.method.after_step(lr)
        return logits, loss

    def finish(self) -> bool:
        """Write the method's zeros; True if that changed weights, whose statistics are then measured anew."""
        changed = self.method.finish()
        if changed:
            recalibrate(self.model, self.batches.epoch(self.epoch))
        return changed

    def accuracy(self, images: ImageSet) -> float:
        """Fraction of ``images`` that the model gets right."""
        return accuracy(self.model, self._loader(images, EVALUATION_BATCH, train=False).epoch())

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs, and all that is needed to build the model again."""
        cuda = torch.device(self.config.device).type == "cuda"
        return {
            "config": self.config.model_dump(mode="json"),
            "shape": list(self.data.spec.shape),
            "classes": self.data.spec.classes,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "random": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if cuda else None},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        self.epoch = state["epoch"]
        torch.set_rng_state(state["random"]["cpu"])
        if state["random"]["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["random"]["cuda"])

    def _loader(self, images: ImageSet, batch_size: int, *, train: bool) -> Loader:
        return Loader(
            images,
            self.data.spec,
            batch_size,
            self.config.device,
            seed=self.config.seed,
            train=train,
            channels_last=True,  # 1.1 to 1.6 times as fast on a CPU, and what tensor cores want
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        device = torch.device(self.config.device).type
        return torch.autocast(device, torch.bfloat16, enabled=self.config.precision == "bf16")
