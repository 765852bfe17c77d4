"""Network Slimming: Liu et al., "Learning Efficient Convolutional Networks through Network Slimming".

Source: ICCV 2017; the details are those of the authors' code. With another penalty than L1 it is Nonconvex Network
Slimming: Bui, Park, Zhang, Qi and Xin, "Improving Network Slimming with Nonconvex Regularization", IEEE Access 9, 2021.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from compress.errors import UserError
from compress.methods.base import METHODS, OnScales, Plan

AUTO = 1e-4  # the authors' strength for VGG; DenseNet-40 and ResNet-164 got 1e-5


@METHODS.register("network-slimming")
class NetworkSlimming(OnScales):
    """Subgradient of the penalty on every BatchNorm scale, then one global threshold.

    The subgradient is added to the gradient after the backward pass, so it also enters the momentum. Scales
    get small but never zero; ``finish`` zeroes the smallest |gamma| of all layers together, with their
    shifts, until the target is met or every layer is at its floor. The authors then fine-tune: train again
    with method ``sgd`` from this run. A fresh model starts at gamma = 0.5. Strength "auto" is the authors' 1e-4.
    """

    warms = True

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Fix the penalty.

        Raises:
            UserError: the model has no scales, the penalty is refused, or it has no slope at any of the scales.
        """
        super().setup(model, optimizer, plan)
        self.penalty = plan.penalty(AUTO if plan.strength is None else plan.strength)
        self.penalty.check(plan.highest_rate)
        self.step = 0
        gamma = self.scales.gamma()
        if self.penalty.strength > 0 and gamma.any() and not self.penalty.subgradient(gamma).any():
            raise UserError(
                f"{self.penalty} has no slope at any scale of this model (|gamma| from {gamma.abs().min():.3g}), so "
                "its subgradient does nothing: give it a wider edge, or take a proximal method"
            )

    @torch.no_grad()
    def after_backward(self) -> None:
        """Add the subgradient to the gradient of every scale."""
        self.step += 1
        penalty = self.plan.penalty(self.plan.warmed(self.penalty.strength, self.step))
        slopes = self.scales.by_family(penalty.subgradient(self.scales.gamma()))
        for name, layer in self.scales.layers.items():
            if layer.weight.grad is not None:
                layer.weight.grad.add_(slopes[name])

    def finish(self) -> bool:
        """Zero the smallest scales of all layers, and their shifts."""
        count = round(self.plan.target * len(self.scales))
        self.scales.hold_zero(self.scales.weakest(self.scales.gamma().abs(), count), self.optimizer)
        return count > 0

    def figures(self) -> dict[str, float]:
        """The strength, and the mean |gamma| that it works on."""
        return {"strength": self.penalty.strength, "scale": self.scales.gamma().abs().mean().item()}

    def state_dict(self) -> dict[str, Any]:
        """The number of steps, for the warm-up of the strength."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.step = state["step"]

    def reached_by(self) -> str:
        """Always by the threshold."""
        return "threshold"
