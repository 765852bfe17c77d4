"""From an exported file back to the module."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_net import NoNorm, Plain, TinyNet, WideNet
from torch import Tensor, nn

import graph
from compress.bridge.importing import load_onnx
from compress.errors import UserError
from compress.repair import repair
from compress.train.unfolding import unfold
from graph.candidates.classes import classes
from graph.export import export

SHAPE = (1, 8, 8)


class Odd(nn.Module):
    """BatchNorm where no layer before takes it in, a bias before BatchNorm, and a product with a transposed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(1)
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8, eps=1e-3)
        self.hidden = nn.Linear(64, 6)
        self.linear = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(torch.relu(self.first(x)))))
        return self.linear(torch.relu(self.hidden(x.flatten(2))).flatten(1))


class Unbiased(nn.Module):
    """No place for a bias anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False)
        self.linear = nn.Linear(8, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.relu(self.two(torch.relu(self.one(x)))).mean((2, 3)))


class Transposed(nn.Module):
    """A convolution whose outputs are the second axis of its weight, in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 4, 2, stride=2)
        self.grouped = nn.ConvTranspose2d(4, 6, 2, groups=2, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(6)])
        self.linear = nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norms[0](self.up(x)))
        return self.linear(torch.relu(self.norms[1](self.grouped(x))).mean((2, 3)))


def trained(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A module in which nothing is as it was made."""
    torch.manual_seed(seed)
    module = make().eval()
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) - 0.3 * (value.ndim != 1))
    return module


def exported(module: nn.Module, path: Path) -> Path:
    graph.save(export(module, torch.zeros(2, *SHAPE), name="net"), path)
    return path


def pruned(module: nn.Module, path: Path, fraction: float) -> list[list[int]]:
    """Zero the first classes and repair the others; shapes of what is left when they are removed."""
    found = classes(graph.analyse(export(module, torch.zeros(2, *SHAPE), name="net")))
    chosen = np.arange(len(found)) < fraction * len(found)
    images = np.random.default_rng(0).random((32, *SHAPE), dtype=np.float32)
    model = repair(found, chosen, [{"input": images}]).model
    graph.save(model, path)
    return shapes(model)


def shapes(model: graph.ModelProto) -> list[list[int]]:
    return sorted(list(each.dims) for each in graph.shrink(model)[0].graph.initializer if len(each.dims) > 1)


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(16, *SHAPE, generator=generator), torch.zeros(16)) for _ in range(count)]


@pytest.mark.parametrize(
    ("make", "count"), [(TinyNet, 2), (Plain, 0), (NoNorm, 0), (Odd, 1), (Unbiased, 0), (Transposed, 2)]
)
def test_an_exported_module_comes_back(make: Callable[[], nn.Module], count: int, tmp_path: Path) -> None:
    original, fresh = trained(make), trained(make, seed=1)
    folded = load_onnx(fresh, exported(original, tmp_path / "net.onnx"), SHAPE, "net")
    images = batches(1)[0][0]
    assert len(folded) == count
    assert torch.allclose(fresh(images), original(images), rtol=1e-4, atol=1e-5)


def test_files_of_torch_alone_come_back(tmp_path: Path) -> None:
    original, fresh = trained(TinyNet), trained(TinyNet, seed=1)
    torch.onnx.export(original, (torch.zeros(2, *SHAPE),), tmp_path / "net.onnx", dynamo=True, verbose=False)
    load_onnx(fresh, tmp_path / "net.onnx", SHAPE, "net")
    images = torch.rand(2, *SHAPE)
    assert torch.allclose(fresh(images), original(images), rtol=1e-4, atol=1e-5)


def test_a_module_as_it_was_made_comes_back(tmp_path: Path) -> None:
    """The exporter leaves out biases of zeros, and keeps equal tensors once."""
    torch.manual_seed(0)
    original, fresh = TinyNet().eval(), trained(TinyNet)
    load_onnx(fresh, exported(original, tmp_path / "net.onnx"), SHAPE, "net")
    images = batches(1)[0][0]
    assert torch.allclose(fresh(images), original(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [TinyNet, Transposed])
def test_unfolded_layers_compute_the_same_and_normalise_in_training(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    module = trained(make)
    folded = load_onnx(module, exported(trained(make), tmp_path / "net.onnx"), SHAPE, "net")
    images = torch.cat([images for images, _ in batches()])
    before = module(images)
    unfold(module, folded, batches())
    assert torch.allclose(module(images), before, rtol=1e-4, atol=1e-4)
    if make is TinyNet:
        assert folded == {"bn1": "conv1", "bn2": "conv2"}
        assert torch.allclose(module.conv2.weight.flatten(1).norm(dim=1), torch.tensor(2.0).sqrt())
    assert torch.allclose(module.train()(images), before, rtol=1e-2, atol=1e-2)  # of these very images


@pytest.mark.parametrize("make", [TinyNet, Plain, Odd])
def test_what_was_pruned_and_repaired_is_removed_again(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    path = tmp_path / "zeroed.onnx"
    slim = pruned(trained(make), path, 0.4)
    module = trained(make, seed=1)
    unfold(module, load_onnx(module, path, SHAPE, "net"), batches())
    assert shapes(export(module, torch.zeros(2, *SHAPE), name="net")) == slim


def refused(module: nn.Module, path: Path) -> str:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises((UserError, graph.ModelError)) as caught:
        load_onnx(module, path, SHAPE, "net")
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    return str(caught.value)


def test_other_models_are_refused(tmp_path: Path) -> None:
    path = exported(trained(TinyNet), tmp_path / "net.onnx")
    assert re.search(
        r"input 1 of Conv:\w+ is \[16, 8, 3, 3\], and in the model \[24, 8, 3, 3\]", refused(WideNet(), path)
    )
    assert "does not fit model net: it has" in refused(Plain(), path)


def test_a_shrunk_file_is_refused(tmp_path: Path) -> None:
    pruned(trained(TinyNet), tmp_path / "zeroed.onnx", 0.4)
    graph.save(graph.shrink(graph.load(tmp_path / "zeroed.onnx"))[0], tmp_path / "slim.onnx")
    assert "before `compress shrink`" in refused(TinyNet(), tmp_path / "slim.onnx")


def test_a_bias_without_a_place_is_refused(tmp_path: Path) -> None:
    pruned(trained(Unbiased), tmp_path / "zeroed.onnx", 0.4)
    assert "has a bias, and the layer of the model none" in refused(Unbiased(), tmp_path / "zeroed.onnx")


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("weights")
    assert "not an ONNX file" in refused(TinyNet(), tmp_path / "x.onnx")
