"""From the name of a model to a network."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from compress import reference
from compress.errors import UserError
from compress.models.registry import MODELS
from compress.registry import unknown


def build(name: str, *, classes: int, channels: int = 3) -> nn.Module:
    """A freshly initialised network.

    Args:
        name: one of the zoo (`MODELS`), ``torchvision:NAME``, ``timm:NAME``, or ``module:callable``, which is
            called with those of classes, num_classes, channels and in_channels that its signature names.
        classes: number of logits.
        channels: of the input images.

    Returns:
        A module from float32 ``[N, channels, H, W]`` to logits ``[N, classes]``, or ``[N, classes, H, W]``.

    Raises:
        UserError: no such model (the message names the nearest), or it cannot be built.
    """
    library, colon, rest = name.partition(":")
    if not colon:
        return MODELS.get(name)(classes=classes, channels=channels)
    if library == "torchvision":
        return _torchvision(rest, classes, channels)
    if library == "timm":
        return _timm(rest, classes, channels)
    return own(name, classes=classes, num_classes=classes, channels=channels, in_channels=channels)


def own(name: str, **offered: int) -> nn.Module:
    """What ``module:callable`` returns, called with those of ``offered`` that it names; errors as of `build`."""
    built: nn.Module = reference.call(name, (nn.Module,), "a torch.nn.Module", **offered)
    return built


def pretrained(name: str) -> nn.Module:
    """A model of torchvision with its trained weights, which are downloaded if they are not cached.

    Raises:
        UserError: there is no such model, or the download failed.
    """
    from torchvision import models

    _check_torchvision(name)
    try:
        model = _one_tensor(models.get_model(name, weights="DEFAULT"))
    except Exception as error:  # urllib's, or a hash that does not fit
        reason = reference.describe(error)
        raise UserError(
            f"cannot download the weights of torchvision:{name} ({reason}); --random-init does without them"
        ) from error
    return model


def _torchvision(name: str, classes: int, channels: int) -> nn.Module:
    from torchvision import models

    _check_torchvision(name)
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):  # they return a tuple in training with their auxiliary logits
        options = {"aux_logits": False, "init_weights": True}
    if name in models.list_models(module=models.segmentation):
        options = {"weights_backbone": None}
    model = _one_tensor(models.get_model(name, weights=None, num_classes=classes, **options))
    if channels != 3:
        _read_channels(model, channels)
    return model


def _check_torchvision(name: str) -> None:
    from torchvision import models

    names = models.list_models(module=models) + models.list_models(module=models.segmentation)
    if name not in names:
        raise unknown("torchvision model", name, names)


def _one_tensor(model: nn.Module) -> nn.Module:
    """``model``, which returns the entry "out" where it returns a dictionary, as the models for segmentation do."""
    model.register_forward_hook(lambda module, inputs, found: found["out"] if isinstance(found, dict) else found)
    return model


def _read_channels(model: nn.Module, channels: int) -> None:
    """Let the first convolution of an RGB model read ``channels``, freshly initialised."""
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    first.in_channels = channels
    first.weight = nn.Parameter(first.weight.new_empty(first.out_channels, channels, *first.kernel_size))
    first.reset_parameters()


def _timm(name: str, classes: int, channels: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise UserError(f"'timm:{name}' needs timm: pip install timm") from error
    names = timm.list_models()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)  # a thousand names are no help
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"unknown timm model '{name}'{hint}")
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels)
    return model
