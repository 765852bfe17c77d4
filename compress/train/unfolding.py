"""BatchNorm layers that an ONNX file had folded into others, as layers that can be trained again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd

from compress.bridge.importing import scaling
from compress.train.recalibrate import BATCHES

LENGTH = 2**0.5


@torch.no_grad()
def unfold(model: nn.Module, folded: Mapping[str, str], batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Let BatchNorm layers normalise that only added their shift, without a change of what the model computes.

    What they read is measured over the first 50 batches. Its mean and variance become the statistics, and scale and
    shift undo them: gamma = sqrt(variance + eps), beta = shift + mean. In training, where every batch is normalised by
    itself, they so begin where the file left them. A channel that is zero has gamma = beta = 0.

    The length of what a layer before BatchNorm weighs with has no meaning, but for how far a step turns it. In the file
    it is whatever the folding made of it, so it becomes that of He's initialisation, sqrt(2), for every channel.

    Args:
        model: on its device.
        folded: names of such layers, in which gamma is 1 and which have no statistics yet, and of those before them.
        batches: of training images; the same in all processes.
    """
    layers = {name: layer for name, layer in model.named_modules() if name in folded and isinstance(layer, _BatchNorm)}
    sums = {name: torch.zeros(3, layer.num_features, dtype=torch.float64) for name, layer in layers.items()}
    hooks = [layer.register_forward_pre_hook(partial(_measure, sums[name])) for name, layer in layers.items()]
    training = model.training
    model.eval()
    for images, _ in islice(batches, BATCHES):
        model(images)
    model.train(training)
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        _settle(layer, sums[name].to(layer.weight.device), _lengthen(model.get_submodule(folded[name])))


def _measure(sums: Tensor, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Add the number, the sum and the sum of squares of all elements of each channel."""
    channels = inputs[0].double().transpose(0, 1).flatten(1)
    number = torch.full_like(channels[:, 0], channels.shape[1])
    sums += torch.stack([number, channels.sum(1), channels.square().sum(1)]).to(sums.device)


def _lengthen(layer: nn.Module) -> Tensor:
    """Give what each output channel weighs with the length sqrt(2), unless it is zero; by what it was multiplied."""
    weight: Tensor = layer.get_parameter("weight")[None]
    if isinstance(layer, _ConvTransposeNd):
        weight = weight.view(layer.groups, -1, *layer.weight.shape[1:]).transpose(1, 2)
    lengths = weight.flatten(2).norm(dim=2)
    factors = torch.where(lengths > 0, LENGTH / lengths, 1.0)
    weight.mul_(factors.view(*lengths.shape, *[1] * (weight.ndim - 2)))
    return factors.flatten()


def _settle(layer: _BatchNorm, sums: Tensor, factors: Tensor) -> None:
    """Statistics of what was measured times ``factors``, and what undoes them."""
    number, total, squares = sums
    mean = total / number
    variance = (squares / number - mean.square()).clamp(min=0)
    scaling(layer)[1].copy_(factors * mean)
    scaling(layer)[2].copy_(factors.square() * variance)
    layer.bias.add_(mean)
    layer.weight.copy_((factors.square() * variance + layer.eps).sqrt() / factors * (variance > 0))
