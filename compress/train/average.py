"""The average of the weights on their way, which is often better than where they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of all weights and statistics of a model: v <- d v + (1 - d) w after every step.

    The decay d of step t is min(decay, (1 + t) / (10 + t)), so that a short training does not average its first
    weights in (the rule of TensorFlow's ExponentialMovingAverage; the average itself: Polyak and Juditsky, SIAM J.
    Control Optim. 30, 1992).

    An average of weights that became zero on the way is small, not zero. So whatever is exactly zero in the model is
    zero in the average, too, when the average takes the model's place: both have the same zeros, and `graph.shrink`
    removes the same channels.

    Args:
        model: whose weights are averaged; on its device.
        decay: in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._names = [name for name, value in model.state_dict().items() if value.is_floating_point()]
        self._model: list[Tensor] = [model.state_dict()[name] for name in self._names]
        self._values = [value.clone() for value in self._model]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of one more step in."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._values, self._model, 1 - decay)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the average into the model."""
        self._keep_zeros()
        torch._foreach_copy_(self._model, self._values)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model computes with the average; afterwards it is as before."""
        before = [value.clone() for value in self._model]
        self.settle()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._model, before)

    def values(self) -> dict[str, Tensor]:
        """The average, by the names of the model's ``state_dict``."""
        self._keep_zeros()
        return dict(zip(self._names, self._values, strict=True))

    @torch.no_grad()
    def load(self, values: dict[str, Any], steps: int) -> None:
        """Continue from an average of so many steps."""
        self.steps = steps
        for name, own in zip(self._names, self._values, strict=True):
            own.copy_(values[name])

    def _keep_zeros(self) -> None:
        for value, weight in zip(self._values, self._model, strict=True):
            value.masked_fill_(weight == 0, 0)
