"""What the training loop asks of a compression method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compress.methods.scales import Scales
from compress.penalties import Penalty
from compress.registry import Registry


@dataclass(frozen=True)
class Plan:
    """What a method may know about the training ahead.

    Attributes:
        penalty: makes the penalty of a given strength.
        strength: weight lambda of the penalty, or None: the method finds one that meets the target.
        target: fraction of all BatchNorm channels to end at zero.
        steps: optimiser steps in the whole training.
        rate: learning rate of a step, counted from 0.
        floor: fraction of every layer's channels that the target leaves alive; one channel at least.
        beta: coupling of a method that splits variables.
        fresh: the model starts from random weights, not from a checkpoint.
        seed: of all that is random.
    """

    penalty: Callable[[float], Penalty]
    strength: float | None
    target: float
    steps: int
    rate: Callable[[int], float]
    floor: float = 0.05
    beta: float = 100.0
    fresh: bool = True
    seed: int = 0

    @property
    def highest_rate(self) -> float:
        """Largest learning rate of any step."""
        return max(map(self.rate, range(self.steps)))


class Method:
    """A way to train a network so that some channels end exactly zero; the base class trains it as it is.

    The loop calls ``setup`` once, then in every step ``loss_terms``, ``after_backward`` and ``after_step``,
    and ``finish`` after the last one. ``state_dict`` holds all that a resumed training needs.
    """

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Begin a training of ``model`` by ``optimizer``."""
        self.optimizer = optimizer
        self.plan = plan
        self.scales = Scales(model, plan.floor)

    def loss_terms(self, model: nn.Module, features: Tensor) -> Tensor | float:
        """Scalar to be added to the loss of a batch, whose outputs are ``features``."""
        return 0.0

    def after_backward(self) -> None:
        """Change the gradients, before the optimiser's step."""

    def after_step(self, lr: float) -> None:
        """Change the weights, after the optimiser's step with learning rate ``lr``."""

    def zeros(self) -> dict[str, Tensor]:
        """Channels that are zero, or will be after ``finish``: a bool mask [channels] per BatchNorm name."""
        return self.scales.by_layer((self.scales.gamma() == 0) & (self.scales.shift() == 0))

    def finish(self) -> bool:
        """Write the zeros into the model; True if that changed any weight."""
        return False

    def figures(self) -> dict[str, float]:
        """Numbers worth a column in the log of every epoch."""
        return {}

    def reached_by(self) -> str:
        """How the target was reached, for the summary; empty for a method that has none."""
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which ``load_state_dict`` restores the method after ``setup``."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""


METHODS: Registry[type[Method]] = Registry("method")
