"""The scales of all BatchNorm layers as one vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.errors import UserError

START = 0.5  # first value of all scales: better than 1 (Liu et al., ICCV 2017, section 4)


class Scales:
    """View of the scales gamma and shifts b of every BatchNorm layer of a model.

    Vectors have one entry per channel, layer after layer in the order of ``model.named_modules()``.

    Args:
        model: the model, on its device.
        floor: fraction of every layer's channels that a choice leaves alive.
    """

    def __init__(self, model: nn.Module, floor: float = 0.0) -> None:
        self.layers = {
            name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm) and layer.affine
        }
        self.sizes = [layer.num_features for layer in self.layers.values()]
        self.floor = floor

    def __len__(self) -> int:
        return sum(self.sizes)

    def require(self) -> None:
        """Make sure that there are any.

        Raises:
            UserError: there are none.
        """
        if not self.layers:
            raise UserError("the model has no BatchNorm layer with scales, which this method slims; try --method sgd")

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
        for parameter, part in zip(self.parameters(), values, strict=False):
            parameter.copy_(part)

    def by_layer(self, vector: Tensor) -> dict[str, Tensor]:
        """The parts of a vector [channels], by the name of their layer."""
        return dict(zip(self.layers, torch.split(vector, self.sizes), strict=True))

    @torch.no_grad()
    def hold_zero(self, mask: Tensor, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Set scale and shift of the channels in ``mask`` [channels, bool] to exact zero.

        With an optimizer its running state of these entries (momentum) goes to zero too, or it would
        push them away again at the next step.
        """
        parts = torch.split(mask, self.sizes)
        for parameter, part in zip(self.parameters(), (*parts, *parts), strict=True):
            parameter.masked_fill_(part, 0)
            state = optimizer.state.get(parameter, {}) if optimizer else {}
            for value in state.values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.masked_fill_(part, 0)

    def strongest(self, score: Tensor) -> Tensor:
        """Mask [channels, bool] of each layer's channels with the largest ``score``, as many as its floor."""
        masks = []
        for part in torch.split(score, self.sizes):
            mask = torch.zeros_like(part, dtype=torch.bool)
            mask[part.topk(least(len(part), self.floor)).indices] = True
            masks.append(mask)
        return torch.cat(masks)

    def weakest(self, score: Tensor, count: int) -> Tensor:
        """Mask [channels, bool] of the ``count`` smallest scores of all layers that leave every layer its floor.

        Fewer than ``count`` where the floors of all layers leave no more.
        """
        kept = self.strongest(score)
        order = score.masked_fill(kept, math.inf).argsort(stable=True)
        mask = torch.zeros_like(kept)
        mask[order[:count]] = True
        return mask & ~kept

    def unemptied(self, mask: Tensor, score: Tensor) -> Tensor:
        """``mask`` [channels, bool], but for the strongest channels of layers of which it would leave nothing."""
        emptied = [part.all().expand(len(part)) for part in torch.split(mask, self.sizes)]
        return mask & ~(torch.cat(emptied) & self.strongest(score))


def least(channels: int, floor: float) -> int:
    """How many of a layer's channels stay alive: the fraction ``floor``, rounded up, and one at least."""
    return max(1, math.ceil(floor * channels))
