"""Joint sparsity promotion and redundancy reduction: an interpretation.

Source: Khan, Naqvi, Robles-Kelly and Meijering, "Neural Network Compression by Joint Sparsity Promotion and Redundancy
Reduction", ICONIP 2022, arXiv 2210.07451. From its abstract: a composite constraint in training makes filters sparse
and takes the redundant ones away, for segmentation; sparsity is measured by counting gradients instead of by a
pseudo-norm. The authors published no code. Ours are all formulas: what a gradient is (the difference of neighbouring
elements of a filter), how it is counted (smoothly, as in the L0 gradient minimisation of Xu, Lu, Xu and Jia, ACM Trans.
Graph. 30, 2011), what redundant means, the weights of the terms, the schedule, and coupled groups in the place of
filters.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from compress.methods.base import METHODS, OnGroups, Plan
from compress.methods.gradual import Gradual, smallest
from compress.methods.joint_filters import find_filters, gradient_count, overlap, redundant
from compress.methods.joint_merging import Consumers

AUTO = 1e-3
REDUNDANCY = 1000.0  # weight of a layer's overlap, which is below 1, against its count, which is not
EPSILON = (1e-1, 1e-3)  # what counts as a gradient, at the first step and at the last


@METHODS.register("joint-sparsity")
class JointSparsity(OnGroups, Gradual):
    """Adds strength sum_l (count_l + 1000 overlap_l) to the loss; redundant groups go first, then the smallest.

    For count and overlap see `joint_filters`; the epsilon of the count falls from 0.1 to 0.001 during training.
    At every update groups go whose filters are more than 0.9 alike to those of an earlier one, as long as the schedule
    asks for any; what read such a channel reads the other one in its place, with the factor that fits their activations
    best in that step. That is exact where the activations are proportional. Where something else than convolutions and
    linear layers reads the channel there is no such factor, and the group is just zeroed, as the small ones are.
    """

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> None:
        """Find the filters, and who reads their channels."""
        super().setup(model, optimizer, plan)
        self.strength = AUTO if plan.strength is None else plan.strength
        self.filters = find_filters(self.groups.coupling)
        self.consumers = Consumers(model, self.groups.coupling, self._updating)
        self.merged = 0

    @property
    def epsilon(self) -> float:
        """Size of a difference that is half a gradient, now."""
        first, last = EPSILON
        return first * math.pow(last / first, self.step / self.plan.steps)

    def loss_terms(self, model: nn.Module, features: Tensor) -> Tensor | float:
        """The composite constraint."""
        layers = [each.rows for each in self.filters]
        return self.strength * sum(gradient_count(rows, self.epsilon) + REDUNDANCY * overlap(rows) for rows in layers)

    def updated(self, count: int, kept: Tensor) -> Tensor:
        """Redundant groups, and the smallest of those alive, too."""
        self.consumers.agree()
        mask = self.mask.clone()
        more = count - int(mask.sum())
        for first, second in redundant(self.filters, ~mask):
            if more and not (mask[first] or mask[second] or kept[second]):
                self.merged += self.consumers.merge(first, second)
                mask[second] = True
                more -= 1
        self.consumers.forget()
        return mask | smallest(self.groups.magnitude(), ~mask & ~kept, more)

    def figures(self) -> dict[str, float]:
        """Gradients per filter, the overlap of two filters, and how many groups were merged into others."""
        with torch.no_grad():
            counts = torch.stack([gradient_count(each.rows, self.epsilon) for each in self.filters])
            overlaps = torch.stack([overlap(each.rows) for each in self.filters])
        return {"gradients": counts.mean().item(), "overlap": overlaps.mean().item(), "merged": float(self.merged)}

    def state_dict(self) -> dict[str, Any]:
        """The mask, and how many groups were merged."""
        return {**super().state_dict(), "merged": self.merged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        super().load_state_dict(state)
        self.merged = state["merged"]

    def _updating(self) -> bool:
        """Whether the mask is updated after this step."""
        return self.step < self.end and self._due(self.step + 1) > self._due(self.step)
