from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import graph
from compress.errors import UserError
from compress.models import build, check_fits
from compress.models.unet import UNet
from graph.export import export
from graph.model.reader import read
from runtime import open_session


@pytest.mark.parametrize(("depth", "width"), [(1, 5), (2, 4), (5, 2)])
@pytest.mark.parametrize("factors", [(1, 1), (2, 3)])
def test_any_depth_width_and_multiple(depth: int, width: int, factors: tuple[int, int]) -> None:
    height, width_ = (factor * 2**depth for factor in factors)
    model = UNet(width, classes=3, channels=2, depth=depth)
    assert model(torch.rand(2, 2, 2 * height, 2 * width_)).shape == (2, 3, 2 * height, 2 * width_)


def test_the_size_of_the_paper() -> None:
    weights = sum(parameter.numel() for parameter in build("unet", classes=2, channels=1).parameters())
    assert round(weights / 1e6, 1) == 31.0  # table of the authors' framework


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(UserError, match=r"cannot read images of 3x584x565: .*multiples of 16: fill the images up"):
        check_fits(build("unet8", classes=2), (3, 584, 565), 2, 584, 565)


def test_logits_must_be_as_large_as_the_image() -> None:
    with pytest.raises(UserError, match=r"logits \[2, 2, 32, 32\], not \[2, 2\]"):
        check_fits(build("resnet20", classes=2), (3, 32, 32), 2, 32, 32)


def test_every_channel_but_the_logits_has_a_scale() -> None:
    model = UNet(4)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert sorted(n.num_features for n in norms) == sorted(c.out_channels for c in convolutions if c is not model.head)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_shrunk_as_if_built_thin_and_equal(share: float, tmp_path) -> None:
    torch.manual_seed(0)
    model = UNet(8, depth=2)
    alive = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            dead = torch.rand(module.num_features) < share
            dead[0] = False
            module.weight.data[dead] = module.bias.data[dead] = 0
            alive[name] = int((~dead).sum())
    whole = export(model.eval(), torch.zeros(2, 3, 16, 24), name="unet")
    slim, certificate = graph.shrink(whole)
    assert certificate.output.parameters < certificate.input.parameters
    shapes = read(slim).shapes
    widths = sorted(shapes[node.output[0]][1] for node in slim.graph.node if node.op_type in ("Conv", "ConvTranspose"))
    assert widths == sorted([*alive.values(), 2])
    x = torch.randn(3, 3, 16, 24)
    graph.save(slim, tmp_path / "slim.onnx")
    found = open_session(tmp_path / "slim.onnx").run({"input": x.numpy()})["output"]
    torch.testing.assert_close(torch.from_numpy(found), model(x).detach(), rtol=1e-4, atol=1e-5)


def test_torchvision_models_for_segmentation_give_one_tensor() -> None:
    model = build("torchvision:lraspp_mobilenet_v3_large", classes=2)
    assert model.train()(torch.rand(2, 3, 33, 64)).shape == (2, 2, 33, 64)
    assert {"backbone.0.0.weight", "classifier.high_classifier.weight"} <= model.state_dict().keys()
    with pytest.raises(UserError, match="did you mean 'lraspp_mobilenet_v3_large'"):
        build("torchvision:lraspp_mobilenet_v3", classes=2)
