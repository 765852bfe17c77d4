"""Dense training; from a pruned checkpoint it is the fine-tuning of Network Slimming, and of all other methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from compress.methods.base import METHODS, Method, Plan
from compress.methods.scales import Scales
from compress.zeroing import hold_zero


@METHODS.register("sgd")
class Dense(Method):
    """Plain training. What a checkpoint brings as zeros stays exactly zero.

    Those are BatchNorm channels with gamma = b = 0, and zeros among the other weights; a parameter that is zero
    altogether is one that has not been trained yet.
    """

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Remember the zeros; a fresh model has none (some builders start residual branches at gamma = 0)."""
        super().setup(model, optimizer, plan)
        assert isinstance(self.units, Scales)
        self.mask = self.units.zero()
        scales = {id(parameter) for parameter in self.units.parameters()}
        self.others = {name: each for name, each in model.named_parameters() if id(each) not in scales}
        self.zeroed = {name: each == 0 for name, each in self.others.items() if (each == 0).any() and each.any()}
        if plan.fresh:
            self.mask.fill_(False)
            self.zeroed = {}
        self._any = bool(self.mask.any())

    def after_step(self, lr: float) -> None:
        """Keep the zeros."""
        if self._any:
            self.units.hold_zero(self.mask, self.optimizer)
        for name, where in self.zeroed.items():
            hold_zero(self.others[name], where, self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The masks."""
        return {"mask": self.mask, "zeroed": self.zeroed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.mask = state["mask"].to(self.mask.device)
        self.zeroed = {name: where.to(self.others[name].device) for name, where in state["zeroed"].items()}
        self._any = bool(self.mask.any())
