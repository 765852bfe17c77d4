"""Zeros that stay."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def hold_zero(parameter: nn.Parameter, where: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Set the elements of ``parameter`` in ``where`` (bool, of its shape or spread over it) to exact zero.

    With an optimizer its running state of these elements (momentum) goes to zero too, or it would push them away
    again at the next step.
    """
    for value in (parameter, *running_state(parameter, optimizer)):
        value.masked_fill_(where, 0)


def running_state(parameter: nn.Parameter, optimizer: torch.optim.Optimizer | None) -> list[Tensor]:
    """What the optimizer holds of every element of ``parameter``, such as its momentum."""
    state = optimizer.state.get(parameter, {}) if optimizer else {}
    return [value for value in state.values() if isinstance(value, Tensor) and value.shape == parameter.shape]
