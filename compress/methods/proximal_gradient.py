"""Proximal gradient on BatchNorm scales: the iterative thresholding of Ye, Lu, Lin and Wang.

Source: "Rethinking the Smaller-Norm-Less-Informative Assumption in Channel Pruning of Convolution Layers", ICLR 2018,
and its code; the algorithm is that of Daubechies, Defrise and De Mol (Comm. Pure Appl. Math. 57, 2004).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.methods.base import METHODS, OnScales
from compress.methods.proximal import Proximal


class Thresholding(Proximal):
    """The prox on the magnitudes of all units, after the optimiser's step.

    No family loses its last unit, and with a target no more units go than it asks for: the others are left as the
    optimiser's step made them.
    """

    @property
    def sparse(self) -> Tensor:
        """The magnitudes."""
        return self.units.magnitude()

    @property
    def dense(self) -> Tensor:
        """The magnitudes."""
        return self.units.magnitude()

    def drift(self, lr: float) -> float:
        """The step of the prox, which takes that times the slope off a magnitude."""
        return self.proximal_step(lr)

    def move(self, lr: float) -> None:
        """The prox, where it applies."""
        before = self.units.magnitude()
        after = self.penalty.prox(before, self.proximal_step(lr))
        zero = after == 0
        if self.kept is None:
            stays = zero & ~self.units.unemptied(zero, before)
        else:
            stays = self.kept | (zero & ~self._among_smallest(before.masked_fill(~zero | self.kept, torch.inf)))
        after = torch.where(stays, before, after)
        self.units.scale(torch.where(before > 0, after / before, 1))

    def _among_smallest(self, size: Tensor) -> Tensor:
        """Mask [units, bool] of the smallest of ``size``, as many as the target asks for."""
        return size <= size.kthvalue(self._count).values if self._count else torch.zeros_like(size, dtype=torch.bool)


@METHODS.register("proximal-gradient")
class ProximalGradient(OnScales, Thresholding):
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

    def proximal_step(self, lr: float) -> float:
        """The learning rate."""
        return lr

    def move(self, lr: float) -> None:
        """The prox on the scales, and on the shifts of those that are zero."""
        super().move(lr)
        gamma, shift = self.scales.gamma(), self.scales.shift()
        self.scales.write(gamma, torch.where(gamma == 0, self.penalty.prox(shift, lr), shift))


def _without_momentum(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Move ``parameters`` into a group of their own, with neither momentum nor weight decay."""
    moved = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in moved]
    optimizer.add_param_group({"params": parameters, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0})
