"""A network of the zoo as ONNX, with random weights and statistics that fit them."""

from __future__ import annotations

import torch
from onnx import ModelProto
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from graph.export import export
from tests.benchmarks.zoo.micro_nets import MICRO
from tests.benchmarks.zoo.torchvision_nets import NAMES, build

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, FrozenBatchNorm2d)


def names() -> list[str]:
    """Every network of the zoo."""
    return [*MICRO, *NAMES]


def prepare(name: str) -> ModelProto:
    """The network called ``name``."""
    torch.manual_seed(0)
    module, shape = (MICRO[name](), (3, 16, 16)) if name in MICRO else build(name)
    sample = torch.randn(2, *shape)
    randomise(module.eval(), sample)
    return export(module, sample, name=name)


@torch.no_grad()
def randomise(module: nn.Module, sample: Tensor) -> None:
    """Random values where all are equal, and statistics that fit in BatchNorms: else a deep network fades."""
    for parameter in module.parameters():
        if parameter.numel() > 1 and parameter.std() == 0:
            if parameter.mean().abs() < 0.5:  # biases, positions, layer scales
                parameter.normal_(0, 0.1)
            else:
                parameter.uniform_(0.5, 1.5)
    hooks = [norm.register_forward_pre_hook(_fit) for norm in module.modules() if isinstance(norm, NORMS)]
    module(sample)
    for hook in hooks:
        hook.remove()


def _fit(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    (x,) = inputs
    axes = [axis for axis in range(x.ndim) if axis != 1]
    mean, var = x.mean(axes), x.var(axes, correction=0)
    norm.running_mean.copy_(mean + 0.1 * torch.randn_like(mean))
    norm.running_var.copy_(var * torch.empty_like(var).uniform_(0.7, 1.4) + 1e-3)
    if isinstance(norm, FrozenBatchNorm2d):  # whose scales are no parameters
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.1)
