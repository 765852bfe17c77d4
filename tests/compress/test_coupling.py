"""What training takes for one group is what surgery removes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

import graph
from compress.bridge.coupling import Coupling, coupling
from compress.models import build
from graph.candidates.classes import classes
from graph.export import export
from runtime import open_session

SHAPE = (3, 16, 16)


def conv(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """A stem, a residual block with depthwise and grouped convolutions, a concatenation, and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = conv(3, 8), conv(8, 12, 1), conv(12, 8, 1)
        self.depthwise, self.grouped = conv(12, 12, groups=12), conv(12, 12, groups=3)
        self.side = nn.Conv2d(8, 6, 3, padding=1)
        self.up, self.down = nn.Linear(14, 20), nn.Linear(20, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.depthwise(F.relu(self.inner(x))))
        x = F.relu(x + self.outer(F.relu(self.grouped(y))))
        x = torch.cat([x, F.silu(self.side(x))], 1).mean((2, 3))
        return self.head(F.gelu(self.down(F.gelu(self.up(x)))))


class Twice(nn.Module):
    """One layer that is used in two places, so its channels are coupled through its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared = nn.Linear(48, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.mean(2).flatten(1)))
        return self.head(F.relu(self.shared(F.relu(self.shared(x)))))


class Fused(nn.Module):
    """Keys and values from one projection, a gate that lies beside them in memory as rows, and a scaled weight."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Parameter(torch.randn(24, 48))
        self.doubled = nn.Parameter(torch.randn(5, 48))
        self.head = nn.Linear(17, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(2).flatten(1)
        gate, value = F.linear(x, self.both).chunk(2, 1)
        return self.head(torch.cat([F.silu(gate) * value, F.relu(F.linear(x, 2 * self.doubled))], 1))


def vit() -> nn.Module:
    return models.VisionTransformer(16, 8, 2, 4, 32, 64, num_classes=10)


def randomised(module: nn.Module) -> nn.Module:
    """As if it were trained: nothing is zero, and statistics are not those of the start."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module.eval()


def random_groups(groups: Coupling) -> Tensor:
    """Some of every family, but not all."""
    mask = torch.rand(len(groups)) < 0.4
    for part in mask.split(list(groups.families.values())):
        part[0] = False
    return mask


ZOO = {
    "resnet": lambda: build("resnet20", classes=10),
    "densenet": lambda: build("densenet40", classes=10),
    "vgg": lambda: build("vgg11", classes=10),
    "mobilenet": lambda: models.mobilenet_v2(width_mult=0.25, num_classes=10),
    "resnext": lambda: models.ResNet(models.resnet.Bottleneck, [1] * 4, groups=4, width_per_group=8, num_classes=10),
    "vit": vit,
    "convnext": lambda: models.ConvNeXt([models.convnext.CNBlockConfig(16, None, 2)], num_classes=10),
}
CASES = [Residual, Twice, Fused, *(pytest.param(make, marks=pytest.mark.slow, id=name) for name, make in ZOO.items())]


@pytest.mark.parametrize("make", CASES)
def test_every_group_that_is_zero_goes_and_nothing_changes(make: Callable[[], nn.Module]) -> None:
    module = randomised(make())
    shape = SHAPE if make in (Residual, Twice, Fused, vit) else (3, 32, 32)
    groups = coupling(module, shape)
    mask = random_groups(groups)
    assert mask.any()
    groups.hold_zero(mask)
    assert torch.equal(groups.norms() == 0, mask)
    model = export(module, torch.zeros(2, *shape), name="net")
    slim, _ = graph.shrink(model)
    left = classes(graph.analyse(slim))
    assert (left.reduce(np.square) > 0).all()
    assert len(left) < len(classes(graph.analyse(model)))
    images = torch.randn(3, *shape)
    expected = module(images).detach().numpy()
    found = open_session(slim.SerializeToString()).run({"input": images.numpy()})["output"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_groups_are_those_of_the_architecture() -> None:
    groups = coupling(Residual(), SHAPE)
    assert groups.families == {
        "stem.0": 8,
        "side": 6,
        "inner.0": 4,  # the groups of the next convolution keep equal widths
        "grouped.0": 4,
        "up": 20,
        "down": 16,
    }


def test_what_is_computed_from_parameters_is_left_out() -> None:
    assert coupling(Fused(), SHAPE).families == {"both": 12}


def test_a_layer_that_is_used_twice_has_one_group_per_row() -> None:
    assert coupling(Twice(), SHAPE).families == {"first": 6, "shared": 6}


def test_norms_and_scaling_are_over_all_entries_of_a_group() -> None:
    module = randomised(Residual())
    groups = coupling(module, SHAPE)
    coupled = [*module.stem.parameters(), *module.outer.parameters()]
    rows = [torch.cat([parameter[channel].flatten() for parameter in coupled]) for channel in range(8)]
    assert groups.sizes[:8].tolist() == [len(row) for row in rows]
    before = groups.norms()
    torch.testing.assert_close(before[:8], torch.stack([row.norm() for row in rows]).detach())
    factors = torch.rand(len(groups))
    head = module.head.weight.clone()
    groups.scale(factors)
    torch.testing.assert_close(groups.norms(), before * factors)
    assert torch.equal(module.head.weight, head)


def test_momentum_of_zero_groups_is_held_at_zero() -> None:
    module = randomised(Twice())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    groups = coupling(module, SHAPE)
    mask = torch.arange(len(groups)) % 6 == 2
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.randn(4, *SHAPE)).square().mean().backward()
        optimizer.step()
        groups.hold_zero(mask, optimizer)
        for layer in (module.first, module.shared):
            momentum = optimizer.state[layer.weight]["momentum_buffer"]
            assert not layer.weight[2].any() and not momentum[2].any()
            assert momentum.any()


def test_the_module_is_left_as_it_was() -> None:
    module = randomised(Residual()).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    coupling(module, SHAPE)
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
