from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from compress.errors import UserError
from compress.models import MODELS, build, check_fits


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image."""
    total = 0

    def add(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += module.weight[0].numel() * output[0].numel()  # type: ignore[index, operator]

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    model.eval()(torch.zeros(1, *shape))
    return total


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [
        ("vgg19", 10, 20.04),
        ("vgg19", 100, 20.08),
        ("densenet40", 10, 1.02),
        ("densenet40", 100, 1.06),
        ("resnet164", 10, 1.70),
        ("resnet164", 100, 1.73),
        ("resnet20", 10, 0.27),
        ("resnet32", 10, 0.46),
        ("resnet44", 10, 0.66),
        ("resnet56", 10, 0.85),
        ("resnet110", 10, 1.73),
    ],
)
def test_parameters_are_those_of_the_papers(name: str, classes: int, millions: float) -> None:
    assert round(count(build(name, classes=classes)) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "published"),  # Network Slimming, table 1, counts two operations per multiply-accumulate
    [("vgg19", 7.97e8 / 2), ("densenet40", 5.33e8 / 2), ("resnet164", 4.99e8 / 2), ("resnet20", 4.1e7)],
)
def test_multiply_accumulates_are_those_of_the_papers(name: str, published: float) -> None:
    assert macs(build(name, classes=10), (3, 32, 32)) == pytest.approx(published, rel=0.07)


@pytest.mark.parametrize("name", MODELS.names())
def test_every_model_gives_logits_and_gradients(name: str) -> None:
    model = build(name, classes=7, channels=1)
    logits = model(torch.rand(2, 1, 32, 32))
    assert logits.shape[:2] == (2, 7)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["resnet20", "densenet40", "preresnet20"])
def test_small_images_fit(name: str) -> None:
    check_fits(build(name, classes=10, channels=1), (1, 8, 8), 10)


@pytest.mark.parametrize(
    ("name", "scale"), [("vgg11", 0.5), ("densenet40", 0.5), ("preresnet20", 0.5), ("resnet20", 1.0)]
)
def test_scales_start_where_their_authors_start_them(name: str, scale: float) -> None:
    norms = [m for m in build(name, classes=10).modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all((norm.weight == scale).all() and (norm.bias == 0).all() for norm in norms)


@pytest.mark.parametrize(("name", "file"), [("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-4bfd9763.th")])
def test_public_checkpoints_load(shared_data: Path, name: str, file: str) -> None:
    saved = torch.load(shared_data / "checkpoints" / file, map_location="cpu", weights_only=True)["state_dict"]
    model = build(name, classes=10)
    model.load_state_dict({key.removeprefix("module."): value for key, value in saved.items()}, strict=True)


def test_shortcut_takes_every_second_pixel_and_adds_silent_channels() -> None:
    from compress.models.resnet import Shortcut

    x = torch.rand(2, 16, 7, 8)
    y = Shortcut(8)(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


@pytest.mark.parametrize("name", ["torchvision:googlenet", "torchvision:inception_v3", "torchvision:mobilenet_v2"])
def test_torchvision_models_give_one_tensor(name: str) -> None:
    model = build(name, classes=5)
    size = 299 if "inception" in name else 64
    assert model.train()(torch.rand(2, 3, size, size)).shape == (2, 5)


def test_torchvision_models_read_other_channels() -> None:
    assert build("torchvision:resnet18", classes=5, channels=1)(torch.rand(2, 1, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet_20", "did you mean 'resnet20'"),
        ("torchvision:resnet19", "did you mean 'resnet18'"),
        ("torchvision:retinanet_resnet50_fpn", "unknown torchvision model"),
        ("nowhere_at_all:net", "no module 'nowhere_at_all'"),
        ("plugin:missing", "module 'plugin' has no 'missing'"),
        ("plugin:number", "not callable: it is of type int"),
        ("plugin:text", "must return a torch.nn.Module, but its result is of type str"),
        ("plugin:fails", "ValueError: first second"),
        ("broken:net", "cannot import 'broken' of 'broken:net': SyntaxError"),
        ("needy:net", "no module 'nowhere_at_all'"),
        ("plugin:", "not of the form module:callable"),
    ],
)
def test_bad_names_give_one_clear_line(name: str, says: str, plugin: None) -> None:
    with pytest.raises(UserError) as caught:
        build(name, classes=10)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin.py").write_text(
        """
from torch import nn
number = 3
def text(): return "net"
def fails(): raise ValueError("first\\nsecond")
def small(num_classes, in_channels=3): return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
class Net(nn.Linear):
    def __init__(self, classes=2): super().__init__(4, classes)
"""
    )
    (tmp_path / "broken.py").write_text("def net(:")
    (tmp_path / "needy.py").write_text("import nowhere_at_all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for module in ("plugin", "broken", "needy"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def test_anybodys_function_or_class_is_a_model(plugin: None) -> None:
    assert build("plugin:small", classes=6, channels=1)(torch.rand(2, 1, 4, 4)).shape == (2, 6)
    assert build("plugin:Net", classes=9)(torch.rand(2, 4)).shape == (2, 9)


def test_timm_is_asked_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="pip install timm"):
        build("timm:resnet18", classes=10)


def test_timm_models_are_built_for_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, *, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        assert not pretrained
        return nn.Conv2d(in_chans, num_classes, 1)

    fake = SimpleNamespace(list_models=lambda: ["resnet18", "vit_tiny"], create_model=create_model)
    monkeypatch.setitem(sys.modules, "timm", fake)  # type: ignore[arg-type]
    assert build("timm:resnet18", classes=4, channels=2)(torch.rand(1, 2, 3, 3)).shape == (1, 4, 3, 3)
    with pytest.raises(UserError, match="did you mean resnet18"):
        build("timm:resnet19", classes=4)


def test_check_names_what_does_not_fit() -> None:
    with pytest.raises(UserError, match="cannot read images of 1x8x8"):
        check_fits(build("vgg11", classes=10, channels=1), (1, 8, 8), 10)
    with pytest.raises(UserError, match=r"logits \[2, 3\], not \[2, 10\]"):
        check_fits(build("resnet20", classes=10), (3, 8, 8), 3)


def test_check_changes_nothing() -> None:
    model = build("resnet20", classes=10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    check_fits(model, (3, 32, 32), 10)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
