"""Mixing the images of a batch: mixup and cutmix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Mix = Literal["none", "mixup", "cutmix", "both"]


def mixing(name: Mix, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Function of images [n, C, H, W] and labels [n] to mixed images and their targets, [n] or [n, classes].

    Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) are torchvision's, with alpha = 1; "both" takes
    one of them for each batch. What they draw comes from torch's global generator.
    """
    if name == "none":
        return lambda images, labels: (images, labels)
    from torchvision.transforms import v2  # takes a second to import

    mixup, cutmix = v2.MixUp(num_classes=classes), v2.CutMix(num_classes=classes)
    chosen: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = (
        v2.RandomChoice([mixup, cutmix]) if name == "both" else {"mixup": mixup, "cutmix": cutmix}[name]
    )
    return chosen
