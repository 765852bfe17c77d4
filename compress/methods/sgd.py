"""Dense training; from a pruned checkpoint it is the fine-tuning of Network Slimming."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from compress.methods.base import METHODS, Method, Plan


@METHODS.register("sgd")
class Dense(Method):
    """Plain training. Channels that a checkpoint brings as zeros (gamma = b = 0) stay exactly zero."""

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Remember the zeros; a fresh model has none (some builders start residual branches at gamma = 0)."""
        super().setup(model, optimizer, plan)
        self.mask = (self.scales.gamma() == 0) & (self.scales.shift() == 0)
        if plan.fresh:
            self.mask.fill_(False)
        self._any = bool(self.mask.any())

    def after_step(self, lr: float) -> None:
        """Keep the zeros."""
        if self._any:
            self.scales.hold_zero(self.mask, self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The mask."""
        return {"mask": self.mask}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.mask = state["mask"].to(self.mask.device)
        self._any = bool(self.mask.any())
