"""Feature flow regularisation: an interpretation.

Source: Wu et al., "Feature Flow Regularization: Improving Structured Sparsity in Deep Neural Networks", arXiv
2106.02914. From there: length and curvature of the trajectory of the features through depth are penalised, and filters
that got small go. The authors published no code. Ours are: which features lie on the trajectory, means over all
elements, equal weights of both terms, their strength, and coupled groups in the place of filters.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.methods.base import METHODS, OnGroups, Plan

AUTO = 1e-2


@METHODS.register("feature-flow")
class FeatureFlow(OnGroups):
    """Adds strength (mean |x_{l+1} - x_l| + mean |x_{l+1} - 2 x_l + x_{l-1}|) for features x of consecutive layers.

    The features are the outputs of the BatchNorm layers, or where there are none of all layers with parameters, in
    the order in which they are computed; consecutive are those of one shape with none of another shape between them.
    `finish` zeroes the groups that are smallest against the others of their family, until the target is met.
    """

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Listen to the layers."""
        super().setup(model, optimizer, plan)
        self.strength = AUTO if plan.strength is None else plan.strength
        self.finished = False
        self.flow: list[Tensor] = []
        model.register_forward_pre_hook(lambda module, inputs: self.flow.clear())
        leaves = [each for each in model.modules() if not list(each.children()) and list(each.parameters())]
        for layer in [each for each in leaves if isinstance(each, _BatchNorm)] or leaves:
            layer.register_forward_hook(self._note)

    def loss_terms(self, model: nn.Module, features: Tensor) -> Tensor | float:
        """Length and curvature of the flow of the last pass."""
        term = self.strength * flow_length(self.flow)
        self.flow.clear()
        return term

    def finish(self) -> bool:
        """Zero the smallest groups."""
        if self.finished:
            return False
        self.finished = True
        count = round(self.plan.target * len(self.groups))
        self.groups.hold_zero(self.groups.weakest(self.groups.magnitude(), count), self.optimizer)
        return count > 0

    def figures(self) -> dict[str, float]:
        """The mean magnitude of the groups."""
        return {"scale": self.groups.magnitude().mean().item()}

    def reached_by(self) -> str:
        """Always by the threshold."""
        return "threshold"

    def state_dict(self) -> dict[str, Any]:
        """What the sizes are measured by."""
        return {"unit": self.groups.unit, "finished": self.finished}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.groups.unit, self.finished = state["unit"].to(self.groups.unit.device), state["finished"]

    def _note(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if layer.training and isinstance(output, Tensor):
            self.flow.append(output)


def flow_length(flow: list[Tensor]) -> Tensor | float:
    """Mean absolute first and second differences of features, summed over runs of equal shape; a scalar."""
    total: Tensor | float = 0.0
    for _, run in groupby(flow, lambda feature: feature.shape):
        first = [b.float() - a.float() for a, b in pairwise(run)]
        total = total + sum(step.abs().mean() for step in first)
        total = total + sum((b - a).abs().mean() for a, b in pairwise(first))
    return total
