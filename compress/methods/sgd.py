"""Dense training; from a pruned checkpoint it is the fine-tuning of Network Slimming, and of all other methods.

From random weights, but with the zeros of a pruned checkpoint, it is the baseline of Liu, Sun, Zhou, Huang and Darrell,
"Rethinking the Value of Network Pruning", ICLR 2019: Scratch-E with as many epochs as the large network had, Scratch-B
with as many operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from compress.bridge.coupling import coupling
from compress.methods.base import METHODS, Method, Plan
from compress.methods.groups import Groups
from compress.methods.scales import Scales
from compress.methods.units import Units
from compress.zeroing import hold_zero
from graph import ModelError


@METHODS.register("sgd")
class Dense(Method):
    """Plain training. What a checkpoint brings as zeros stays exactly zero.

    Those are BatchNorm channels with gamma = b = 0, and zeros among the other weights; a parameter that is zero
    altogether is one that has not been trained yet. With ``plan.first`` the other weights start from there: as zeros
    have no effect, the network is the thin one, but its weights are drawn for the sizes of the large one, which
    matters only where no normalisation follows.
    """

    def find(self, model: nn.Module) -> Units:
        """The channels of all BatchNorm layers; in a checkpoint without any, the coupled groups that torch exports."""
        self.scales = Scales(model, self.plan.floor)
        if len(self.scales) or self.plan.fresh:
            return self.scales
        try:
            groups = coupling(model, self.plan.shape)
        except ModelError:
            return self.scales
        return Groups(groups, self.plan.floor) if len(groups) else self.scales

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Remember the zeros; a fresh model has none (some builders start residual branches at gamma = 0)."""
        super().setup(model, optimizer, plan)
        self.mask = self.scales.zero()
        scales = {id(parameter) for parameter in self.scales.parameters()}
        self.others = {name: each for name, each in model.named_parameters() if id(each) not in scales}
        self.zeroed = {name: each == 0 for name, each in self.others.items() if (each == 0).any() and each.any()}
        if plan.fresh:
            self.mask.fill_(False)
            self.zeroed = {}
        self._any = bool(self.mask.any())
        if plan.first is not None:
            model.load_state_dict(plan.first)
            self._hold()

    def after_step(self, lr: float) -> None:
        """Keep the zeros."""
        self._hold()

    def state_dict(self) -> dict[str, Any]:
        """The masks."""
        return {"mask": self.mask, "zeroed": self.zeroed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.mask = state["mask"].to(self.mask.device)
        self.zeroed = {name: where.to(self.others[name].device) for name, where in state["zeroed"].items()}
        self._any = bool(self.mask.any())

    def _hold(self) -> None:
        if self._any:
            self.scales.hold_zero(self.mask, self.optimizer)
        for name, where in self.zeroed.items():
            hold_zero(self.others[name], where, self.optimizer)
