"""Proximal gradient on BatchNorm scales: the iterative thresholding of Ye, Lu, Lin and Wang.

Source: "Rethinking the Smaller-Norm-Less-Informative Assumption in Channel Pruning of Convolution Layers", ICLR 2018,
and its code; the algorithm is that of Daubechies, Defrise and De Mol (Comm. Pure Appl. Math. 57, 2004).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from compress.methods.base import METHODS
from compress.methods.proximal import Proximal


@METHODS.register("proximal-gradient")
class ProximalGradient(Proximal):
    """gamma <- prox(gamma - lr grad L, step lr), for any penalty.

    As in the source the scales have no momentum: with momentum m a gradient counts 1 / (1 - m) times, but the prox
    once, so the strength would mean something else. Nor do they have weight decay, which is a second penalty. The
    shift of a channel whose scale is zero gets the same prox, so that it follows to zero and no constant is left.

    Different from the source: any penalty, one strength for all layers (there it is weighted by the memory that a
    channel costs), and scales that start at 0.5 instead of being rescaled against the weights that follow.
    """

    def begin(self) -> None:
        """Take momentum and weight decay from the scales."""
        _without_momentum(self.optimizer, [layer.weight for layer in self.scales.layers.values()])
        self.last = self.scales.gamma()  # of each scale, the last value that was not zero

    @property
    def sparse(self) -> Tensor:
        """Gamma."""
        return self.scales.gamma()

    @property
    def dense(self) -> Tensor:
        """Gamma, or its last value that was not zero."""
        return self.last if self.mask is None else self.scales.gamma()

    def proximal_step(self, lr: float) -> float:
        """The learning rate."""
        return lr

    def drift(self, lr: float) -> float:
        """The learning rate: the prox takes lr times the slope off a scale."""
        return lr

    def move(self, lr: float) -> None:
        """The prox, after the optimiser's step on the scales."""
        stepped, shift = self.scales.gamma(), self.scales.shift()
        gamma = self.penalty.prox(stepped, lr)
        if self.kept is not None:
            gamma = torch.where(self.kept, stepped, gamma)
        zero = gamma == 0
        self.last = torch.where(zero, self.last, gamma)
        self.scales.write(gamma, torch.where(zero, self.penalty.prox(shift, lr), shift))

    def state_dict(self) -> dict[str, Any]:
        """All that changes from step to step."""
        return {**super().state_dict(), "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        super().load_state_dict(state)
        self.last = state["last"].to(self.last.device)


def _without_momentum(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Move ``parameters`` into a group of their own, with neither momentum nor weight decay."""
    moved = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in moved]
    optimizer.add_param_group({"params": parameters, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0})
