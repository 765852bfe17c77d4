"""Targets: mixing the images of a batch (mixup and cutmix), and label smoothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Mix = Literal["none", "mixup", "cutmix", "both"]
Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From images [n, C, H, W] and labels [n] to mixed images and their targets, labels or probabilities [n, classes]."""


def mixing(name: Mix, classes: int, smoothing: float = 0.0) -> Mixing:
    """Mix images with one another, and smooth labels.

    Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) are torchvision's, with alpha = 1; "both" takes
    one of them for each batch. What they draw comes from torch's global generator. Smoothing with s makes targets
    (1 - s) y + s / classes (Szegedy et al., CVPR 2016, section 7).
    """
    mix = _mixing(name, classes)
    if not smoothing:
        return mix

    def smoothed(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images, targets = mix(images, labels)
        likely = targets if targets.is_floating_point() else F.one_hot(targets, classes).float()
        return images, torch.lerp(likely, torch.full_like(likely, 1 / classes), smoothing)

    return smoothed


def _mixing(name: Mix, classes: int) -> Mixing:
    if name == "none":
        return lambda images, labels: (images, labels)
    from torchvision.transforms import v2  # takes a second to import

    mixup, cutmix = v2.MixUp(num_classes=classes), v2.CutMix(num_classes=classes)
    chosen: Mixing = v2.RandomChoice([mixup, cutmix]) if name == "both" else {"mixup": mixup, "cutmix": cutmix}[name]
    return chosen
