"""The trained networks of the comparison, their images, and the judge: accuracy on all test images, and MACs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto
from torch import nn

import graph
from compress.data.cifar import cifar10
from compress.data.images import Images
from compress.data.spec import Spec
from compress.models import MODELS
from compress.train.checkpoint import load_weights
from graph.counts import size
from graph.export import export
from graph.model.reader import read
from runtime import Settings, open_session

ONE = Settings(threads=1)
CALIBRATION = 1000  # training images, without labels
BATCH = 100
OWN = (0.4914, 0.4822, 0.4465)  # CIFAR-10's own mean, which the field files take
FIELD = {  # ONNX files of others: the standard deviations that they take
    "cifar10_resnet_4b": (0.2471, 0.2435, 0.2616),
    "vit_cifar10_ibp_3_3_8": (0.2023, 0.1994, 0.2010),
}

Batches = list[dict[str, Any]]


@dataclass(frozen=True)
class Network:
    """A trained model and how its images are normalised."""

    name: str
    model: ModelProto
    spec: Spec
    train: Images
    test: Images

    def drawn(self, seed: int) -> Images:
        """The calibration images of one seed."""
        chosen = np.random.default_rng(seed).permutation(len(self.train))[:CALIBRATION]
        return self.train.subset(chosen)

    def feeds(self, seed: int) -> Batches:
        """The same as inputs of the model, in the batches that it takes."""
        value = self.model.graph.input[0]
        batch = value.type.tensor_type.shape.dim[0].dim_value or BATCH
        return [{value.name: images} for images, _ in self.drawn(seed).batches(batch, self.spec)]

    def accuracy(self, model: ModelProto) -> float:
        """Percent of all test images."""
        session = open_session(model.SerializeToString(), ONE)
        (value,) = session.inputs
        batch = value.shape[0] if isinstance(value.shape[0], int) else BATCH
        right = 0
        for images, labels in self.test.batches(batch, self.spec):
            (logits,) = session.run({value.name: images}).values()
            right += int((logits.argmax(1) == labels).sum())
        return 100 * right / len(self.test)


def macs(model: ModelProto) -> int:
    """Multiply-accumulates of one image, by our own counter for everybody."""
    return size(read(model)).macs


def resnet56(shared: Path) -> nn.Module:
    """The public checkpoint."""
    module = MODELS.get("resnet56")()
    path = shared / "checkpoints" / "resnet56-4bfd9763.th"
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    load_weights(
        module, {name.removeprefix("module."): value for name, value in weights.items()}, path.name, "resnet56"
    )
    return module.eval()


def onnx_of(module: nn.Module) -> ModelProto:
    """As `compress export` writes it."""
    return export(module.eval(), torch.zeros(2, 3, 32, 32), name="resnet56")


def network(name: str, shared: Path, data: Path) -> Network:
    """One of the networks with its images."""
    source = cifar10(data)
    spec = source.spec
    if name == "resnet56":
        model = onnx_of(resnet56(shared))
    else:
        model = graph.load(shared / "onnx" / f"{name}.onnx")
        spec = replace(spec, mean=OWN, std=FIELD[name])
    return Network(name, model, spec, source.train(), source.test())
