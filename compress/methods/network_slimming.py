"""Network Slimming: Liu et al., "Learning Efficient Convolutional Networks through Network Slimming".

Source: ICCV 2017; the details are those of the authors' code.
"""

from __future__ import annotations

import torch
from torch import nn

from compress.methods.base import METHODS, Method, Plan
from compress.methods.scales import weakest

AUTO = 1e-4  # the authors' strength for VGG; DenseNet-40 and ResNet-164 got 1e-5


@METHODS.register("network-slimming")
class NetworkSlimming(Method):
    """Subgradient of ``strength |gamma|`` on every BatchNorm scale, then one global threshold.

    The subgradient is added to the gradient after the backward pass, so it also enters the momentum. Scales
    get small but never zero; ``finish`` zeroes the smallest |gamma| of all layers together, with their
    shifts, until the target is met or every layer is at its floor. The authors then fine-tune: train again
    with method ``sgd`` from this run. Strength "auto" is the authors' 1e-4.
    """

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Fix the penalty."""
        super().setup(model, optimizer, plan)
        self.scales.require()
        self.penalty = plan.penalty(AUTO if plan.strength is None else plan.strength)
        self.penalty.check(plan.rate(0))

    @torch.no_grad()
    def after_backward(self) -> None:
        """Add the subgradient to the gradient of every scale."""
        for layer in self.scales.layers.values():
            if layer.weight.grad is not None:
                layer.weight.grad.add_(self.penalty.subgradient(layer.weight))

    def finish(self) -> bool:
        """Zero the smallest scales of all layers, and their shifts."""
        count = round(self.plan.target * len(self.scales))
        self.scales.hold_zero(weakest(self.scales.gamma().abs(), self.scales.sizes, count), self.optimizer)
        return count > 0

    def figures(self) -> dict[str, float]:
        """The strength, and the mean |gamma| that it works on."""
        return {"strength": self.penalty.strength, "scale": self.scales.gamma().abs().mean().item()}

    def reached_by(self) -> str:
        """Always by the threshold."""
        return "threshold"
