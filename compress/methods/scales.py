"""The scales of all BatchNorm layers as one vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.errors import UserError

FLOOR = 0.05  # of a layer's channels stay alive, and one at least: an empty layer cuts the network in two


class Scales:
    """View of the scales gamma and shifts b of every BatchNorm layer of a model.

    Vectors have one entry per channel, layer after layer in the order of ``model.named_modules()``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = {
            name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm) and layer.affine
        }
        self.sizes = [layer.num_features for layer in self.layers.values()]

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
    def write(self, gamma: Tensor) -> None:
        """Set all scales to ``gamma`` [channels]."""
        for layer, part in zip(self.layers.values(), torch.split(gamma, self.sizes), strict=True):
            layer.weight.copy_(part)

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


def floor(channels: int) -> int:
    """How many of a layer's channels always stay alive."""
    return max(1, math.ceil(FLOOR * channels))


def strongest(score: Tensor, sizes: list[int]) -> Tensor:
    """Mask [channels, bool] of each layer's channels with the largest ``score``, as many as its floor."""
    masks = []
    for part in torch.split(score, sizes):
        mask = torch.zeros_like(part, dtype=torch.bool)
        mask[part.topk(floor(len(part))).indices] = True
        masks.append(mask)
    return torch.cat(masks)


def weakest(score: Tensor, sizes: list[int], count: int) -> Tensor:
    """Mask [channels, bool] of the ``count`` smallest scores of all layers that leave every layer its floor.

    Fewer than ``count`` where the floors of all layers leave no more.
    """
    kept = strongest(score, sizes)
    order = score.masked_fill(kept, math.inf).argsort(stable=True)
    mask = torch.zeros_like(kept)
    mask[order[:count]] = True
    return mask & ~kept
