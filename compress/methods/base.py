"""What the training loop asks of a compression method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compress.bridge.coupling import coupling
from compress.errors import UserError
from compress.methods.groups import Groups
from compress.methods.scales import Scales
from compress.methods.units import Units
from compress.penalties import Penalty
from compress.registry import Registry


@dataclass(frozen=True)
class Plan:
    """What a method may know about the training ahead.

    Attributes:
        penalty: makes the penalty of a given strength.
        strength: weight lambda of the penalty, or None: the method finds one that meets the target.
        shape: (C, H, W) of an image.
        target: fraction of all units (BatchNorm channels, or what the method works on) to end at zero.
        steps: optimiser steps in the whole training.
        rate: learning rate of a step, counted from 0.
        floor: fraction of every family's units (of a layer's channels) that the target leaves alive; one at least.
        warmup: fraction of the steps in which a given strength grows to its value.
        beta: coupling of a method that splits variables.
        fresh: the model starts from random weights, not from a checkpoint.
        first: the random weights that the checkpoint replaced, if they are to be trained, under its zeros.
        seed: of all that is random.
    """

    penalty: Callable[[float], Penalty]
    strength: float | None
    shape: tuple[int, int, int]
    target: float
    steps: int
    rate: Callable[[int], float]
    floor: float = 0.05
    warmup: float = 0.0
    beta: float = 100.0
    fresh: bool = True
    first: Mapping[str, Tensor] | None = None
    seed: int = 0

    @property
    def highest_rate(self) -> float:
        """Largest learning rate of any step."""
        return max(map(self.rate, range(self.steps)))

    def warmed(self, strength: float, step: int) -> float:
        """``strength`` as it is in a step, counted from 1: it grows linearly."""
        ramp = self.warmup * self.steps
        return strength * min(1.0, step / ramp) if ramp else strength


class Method:
    """A way to train a network so that some channels end exactly zero; the base class trains it as it is.

    The loop calls ``setup`` once, then in every step ``loss_terms``, ``after_backward`` and ``after_step``,
    and ``finish`` after the last one. ``state_dict`` holds all that a resumed training needs.
    """

    warms: ClassVar[bool] = False  # a given strength can grow in the first steps

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Begin a training of ``model`` by ``optimizer``.

        Raises:
            UserError: the plan has a warm-up and the method has none.
        """
        if plan.warmup and not self.warms:
            raise UserError("the method has no strength that could warm up: leave --warmup out")
        self.optimizer = optimizer
        self.plan = plan
        self.units = self.find(model)

    def find(self, model: nn.Module) -> Units:
        """What the method makes zero or leaves alive; here the channels of all BatchNorm layers, if there are any."""
        return Scales(model, self.plan.floor)

    def loss_terms(self, model: nn.Module, features: Tensor) -> Tensor | float:
        """Scalar to be added to the loss of a batch, whose outputs are ``features``."""
        return 0.0

    def after_backward(self) -> None:
        """Change the gradients, before the optimiser's step."""

    def after_step(self, lr: float) -> None:
        """Change the weights, after the optimiser's step with learning rate ``lr``."""

    def zeros(self) -> dict[str, Tensor]:
        """Units that are zero, or will be after ``finish``: a bool mask [units] per family's name."""
        return self.units.by_family(self.units.zero())

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


class OnScales(Method):
    """A method that works on the scales of BatchNorm layers."""

    def find(self, model: nn.Module) -> Scales:
        """The scales, which start at 0.5 in a fresh model.

        Raises:
            UserError: there are none.
        """
        scales = Scales(model, self.plan.floor)
        scales.require()
        if self.plan.fresh:
            scales.reset()
        return scales

    @property
    def scales(self) -> Scales:
        """The units."""
        assert isinstance(self.units, Scales)
        return self.units


class OnGroups(Method):
    """A method that works on the coupled channel groups of any model."""

    def find(self, model: nn.Module) -> Groups:
        """The coupled groups.

        Raises:
            ModelError: torch cannot export the model.
            UserError: there are none.
        """
        groups = Groups(coupling(model, self.plan.shape), self.plan.floor)
        if not len(groups):
            raise UserError("no channel of the model may go: compress inspect its export to see what holds them")
        return groups

    @property
    def groups(self) -> Groups:
        """The units."""
        assert isinstance(self.units, Groups)
        return self.units


METHODS: Registry[type[Method]] = Registry("method")
