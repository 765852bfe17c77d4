"""The single weights of a model as units: what is called unstructured sparsity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.methods.groups import gradient
from compress.methods.units import Units
from compress.zeroing import hold_zero


class Weights(Units):
    """View of the elements of all weights with two axes or more, but the first of them, which reads the images.

    A family is a parameter. Its zeros are no channels: `graph.shrink` removes only rows that came out zero altogether,
    and what is left of the zeros makes a file that compresses better, not a faster one.
    """

    def __init__(self, model: nn.Module) -> None:
        named = [(name, each) for name, each in model.named_parameters() if each.ndim > 1][1:]
        super().__init__({name: each.numel() for name, each in named})
        self.parameters = [each for _, each in named]

    @torch.no_grad()
    def magnitude(self) -> Tensor:
        """|w|, [weights]."""
        return torch.cat([each.flatten() for each in self.parameters]).abs()

    def gradient(self) -> Tensor:
        """|dL/dw|, [weights]."""
        return torch.cat([gradient(each).flatten() for each in self.parameters]).abs()

    @torch.no_grad()
    def scale(self, factors: Tensor) -> None:
        """Multiply each weight by its factor, [weights]."""
        for parameter, part in zip(self.parameters, torch.split(factors, self.sizes), strict=True):
            parameter.mul_(part.view_as(parameter))

    def zero(self) -> Tensor:
        """Mask [weights, bool] of those that are zero."""
        return self.magnitude() == 0

    def hold_zero(self, mask: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Set the weights in ``mask`` [weights, bool] to exact zero."""
        for parameter, part in zip(self.parameters, torch.split(mask, self.sizes), strict=True):
            hold_zero(parameter, part.view_as(parameter), optimizer)
