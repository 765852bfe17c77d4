"""The scales of all BatchNorm layers as one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.errors import UserError
from compress.methods.units import Units
from compress.zeroing import running_state

START = 0.5  # first value of all scales: better than 1 (Liu et al., ICCV 2017, section 4)


class Scales(Units):
    """View of the scales gamma and shifts b of every BatchNorm layer of a model.

    A family is a layer, in the order of ``model.named_modules()``.

    Args:
        model: the model, on its device.
        floor: fraction of every layer's channels that a choice leaves alive.
    """

    def __init__(self, model: nn.Module, floor: float = 0.0) -> None:
        self.layers = {
            name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm) and layer.affine
        }
        super().__init__({name: layer.num_features for name, layer in self.layers.items()}, floor)

    def require(self) -> None:
        """Make sure that there are any.

        Raises:
            UserError: there are none.
        """
        if not self.layers:
            raise UserError("the model has no BatchNorm scales, which this method slims; try --method group-slimming")

    def parameters(self) -> list[nn.Parameter]:
        """Scales of all layers, then shifts of all layers, as the parameters themselves."""
        return [layer.weight for layer in self.layers.values()] + [layer.bias for layer in self.layers.values()]

    @torch.no_grad()
    def gamma(self) -> Tensor:
        """A copy of all scales, float [channels]."""
        return torch.cat([layer.weight for layer in self.layers.values()]) if self.layers else torch.empty(0)

    @torch.no_grad()
    def shift(self) -> Tensor:
        """A copy of all shifts, float [channels]."""
        return torch.cat([layer.bias for layer in self.layers.values()]) if self.layers else torch.empty(0)

    @torch.no_grad()
    def reset(self) -> None:
        """Set all scales to the value with which a fresh model that is to be slimmed starts."""
        for layer in self.layers.values():
            layer.weight.fill_(START)

    @torch.no_grad()
    def write(self, gamma: Tensor, shift: Tensor | None = None) -> None:
        """Set all scales to ``gamma``, and all shifts to ``shift`` if given, [channels]."""
        values = torch.split(gamma, self.sizes)
        if shift is not None:
            values = (*values, *torch.split(shift, self.sizes))
        parameters: list[Tensor] = [*self.parameters()]
        torch._foreach_copy_(parameters[: len(values)], values)

    def magnitude(self) -> Tensor:
        """|gamma|, [channels]."""
        return self.gamma().abs()

    def scale(self, factors: Tensor) -> None:
        """Multiply each scale by its factor, [channels]."""
        self.write(self.gamma() * factors)

    def zero(self) -> Tensor:
        """Mask [channels, bool] of those whose scale and shift are zero."""
        return (self.gamma() == 0) & (self.shift() == 0)

    @torch.no_grad()
    def hold_zero(self, mask: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Set scale and shift of the channels in ``mask`` [channels, bool] to exact zero."""
        parts = 2 * torch.split(mask, self.sizes)
        held = [
            (value, part)
            for parameter, part in zip(self.parameters(), parts, strict=True)
            for value in (parameter, *running_state(parameter, optimizer))
        ]
        values, masks = (list(column) for column in zip(*held, strict=True))
        flat = torch.cat(values).masked_fill_(torch.cat(masks), 0)  # few launches: it is done in every step of healing
        torch._foreach_copy_(values, torch.split(flat, [len(value) for value in values]))
