"""OrthoReg: Lubana, Trivedi, Hougen and Dick, "OrthoReg: Robust Network Pruning Using Orthonormality Regularization".

Source: arXiv 2009.05014, and the authors' code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compress.methods.base import METHODS, OnGroups, Plan
from compress.methods.gradual import Gradual, smallest
from compress.methods.groups import gradient

AUTO = 1e-2  # the authors' strength for VGG and ResNet; MobileNet got 1e-3
ROUNDS = 5


@METHODS.register("orthoreg")
class OrthoReg(OnGroups, Gradual):
    """Orthonormal filters, so that the importance of several is the sum of theirs; the least important go in rounds.

    The loss gets strength sum_l a_l |M_l M_l^T - I|_1, entry by entry, where M_l has the filters of layer l as rows (or
    its transpose, whichever makes the smaller matrix), and a_l = sqrt(dim_l) / sum sqrt(dim). The importance of a group
    is (sum w g)^2 over its elements w and their gradients g; every round takes as many groups as the others, and
    after the last one the regulariser is off.

    Ours are: coupled groups instead of filters, gradients averaged over the mini-batches since the last round instead
    of 10,000 samples in evaluation mode, and five rounds in the first 80 % of the steps.
    """

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Find the weights that have filters."""
        super().setup(model, optimizer, plan)
        self.strength = AUTO if plan.strength is None else plan.strength
        self.filters = [part.parameter for part in self.groups.coupling.parts if part.parameter.ndim > 1]
        self.importance = torch.zeros_like(self.groups.magnitude())

    @property
    def updates(self) -> int:
        """The rounds."""
        return ROUNDS

    def share(self, progress: float, begin: float) -> float:
        """The same number of groups in every round."""
        return begin + (self.plan.target - begin) * progress

    def after_backward(self) -> None:
        """Note the importances, then add the regulariser's gradient."""
        if self.step >= self.end:
            return
        self.importance += self.groups.coupling.sum(lambda parameter: parameter * gradient(parameter))
        penalty = self.strength * orthonormality(self.filters)
        for parameter, slope in zip(self.filters, torch.autograd.grad(penalty, self.filters), strict=True):
            parameter.grad = gradient(parameter) + slope

    def updated(self, count: int, kept: Tensor) -> Tensor:
        """The least important of those alive, too."""
        score = self.importance.square()
        self.importance = torch.zeros_like(score)
        return self.mask | smallest(score, ~self.mask & ~kept, count - int(self.mask.sum()))

    def figures(self) -> dict[str, float]:
        """How far the filters are from orthonormal."""
        with torch.no_grad():
            return {"orthonormality": orthonormality(self.filters).item()}

    def state_dict(self) -> dict[str, Any]:
        """The mask, and the importances so far."""
        return {**super().state_dict(), "importance": self.importance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        super().load_state_dict(state)
        self.importance = state["importance"].to(self.importance.device)


def orthonormality(weights: list[nn.Parameter]) -> Tensor:
    """Sum over all weights [filters, ...] of a |M M^T - I|_1, a scalar."""
    total, roots = weights[0].new_zeros(()), 0.0
    for weight in weights:
        rows = weight.flatten(1)
        rows = rows if len(rows) <= rows.shape[1] else rows.T
        root = len(rows) ** 0.5
        total = total + root * (rows @ rows.T - torch.eye(len(rows), device=rows.device, dtype=rows.dtype)).abs().sum()
        roots += root
    return total / roots
