"""torchvision's models, each with an input as small as it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

Network = tuple[nn.Module, tuple[int, ...]]  # and the shape of one input, without the batch

CLASSIFICATION = models.list_models(module=models)
SEGMENTATION = models.list_models(module=models.segmentation)
VIDEO = models.list_models(module=models.video)
FLOW = models.list_models(module=models.optical_flow)
DETECTION = [
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
]
NAMES = [*CLASSIFICATION, *SEGMENTATION, *DETECTION, *VIDEO, *FLOW]

#: Height and width of the input, where 64 is too small.
SIDES = {
    "alexnet": 80, "inception_v3": 96, "maxvit_t": 224, "swin_t": 112, "swin_s": 112, "swin_b": 112,
    "swin_v2_t": 128, "swin_v2_s": 128, "swin_v2_b": 128, "vit_h_14": 56, "raft_small": 128, "raft_large": 128,
    "mvit_v1_b": 224, "mvit_v2_s": 224, "s3d": 224, "ssd300_vgg16": 300, "ssdlite320_mobilenet_v3_large": 320,
}  # fmt: skip
FRAMES = {"s3d": 16, "mvit_v1_b": 16, "mvit_v2_s": 16}  # of a video; else 4


def build(name: str) -> Network:
    """The network called ``name``, with random weights."""
    side = SIDES.get(name, 64)
    extra: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        extra = {"aux_logits": False, "init_weights": False}
    elif name.startswith("vit"):
        extra = {"image_size": side}
    elif name in (*SEGMENTATION, *DETECTION):
        extra = {"weights_backbone": None}
    model = models.get_model(name, weights=None, **extra)
    if name in SEGMENTATION:
        return Segmentation(model), (3, side, side)
    if name in DETECTION:
        return Detection(model), (3, side, side)
    if name in FLOW:
        return Flow(model), (6, side, side)
    return model, (3, FRAMES.get(name, 4), side, side) if name in VIDEO else (3, side, side)


def published_size(name: str) -> int:
    """Parameters of the published model: what to sort by."""
    return int(models.get_model_weights(name).DEFAULT.meta["num_params"])


class Segmentation(nn.Module):
    """The map of classes alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)["out"]


class Detection(nn.Module):
    """Backbone, feature pyramid and dense heads; not the selection of boxes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.head = model.rpn.head if hasattr(model, "rpn") else model.head

    def forward(self, x: Tensor) -> Tensor:
        found = self.head(list(self.backbone(x).values()))
        groups = found.values() if isinstance(found, dict) else [each for pair in found for each in pair]
        return torch.cat([each.flatten(1) for each in groups], 1)


class Flow(nn.Module):
    """Optical flow between two images, channels 0 to 2 and 3 to 5, after two rounds of refinement."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x[:, :3], x[:, 3:], num_flow_updates=2)[-1]
