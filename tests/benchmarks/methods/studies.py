"""What is compared: studies of one network on one data set, and the methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from compress.models.vgg import VGG


def narrow_vgg(classes: int, channels: int) -> nn.Module:
    """VGG-11 with a quarter of its channels."""
    return VGG(11, classes, channels, width=16)


@dataclass(frozen=True)
class Way:
    """A method as it is asked for.

    Attributes:
        method: its name.
        penalty: with its shape.
        tuned: share of the epochs that a training with the zeros held takes at the end.
        options: other than the study's.
    """

    method: str
    penalty: str = "l1"
    tuned: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


SLIMMING = {"strength": 1e-3}  # ten times the authors', since the trainings are short
NONCONVEX = ("mcp", "scad", "tl1", "lp:p=1/2", "log-sum", "l0")
WAYS = {
    "network slimming": Way("network-slimming", options=SLIMMING),
    "network slimming, mcp": Way("network-slimming", "mcp", options=SLIMMING),
    "network slimming, tl1": Way("network-slimming", "tl1", options=SLIMMING),
    "network slimming, lp:p=1/2": Way("network-slimming", "lp:p=1/2", options=SLIMMING),
    "network slimming, half of the epochs fine-tuning": Way("network-slimming", tuned=0.5, options=SLIMMING),
    "proximal slimming": Way("proximal-slimming"),
    **{f"proximal slimming, {penalty}": Way("proximal-slimming", penalty) for penalty in NONCONVEX},
    "proximal gradient": Way("proximal-gradient"),
    "proximal gradient, mcp": Way("proximal-gradient", "mcp"),
    "variational slimming": Way("variational-slimming"),
    "group slimming": Way("group-slimming"),
    "group slimming, mcp": Way("group-slimming", "mcp"),
    "OrthoReg": Way("orthoreg"),
    "feature flow": Way("feature-flow"),
    "joint sparsity": Way("joint-sparsity"),
    "FGGP on groups": Way("fggp-groups"),
    "gradual magnitude on groups": Way("gradual-magnitude-groups"),
}
CHIEF = (
    "network slimming",
    "network slimming, half of the epochs fine-tuning",
    "proximal slimming",
    "proximal slimming, mcp",
    "proximal slimming, lp:p=1/2",
    "group slimming, mcp",
    "gradual magnitude on groups",
)


@dataclass(frozen=True)
class Study:
    """Trainings that only differ in method, target and seed.

    Attributes:
        title: for people.
        model: name of the network.
        data: name of the data set.
        images: of it, to train on.
        options: of every training.
        ways: names of `WAYS`.
        targets: fractions of the channels, or groups, that become zero.
        seeds: of the first target; the others have the first one only.
        checkpoint: file in SHARED/checkpoints to start from.
    """

    title: str
    model: str
    data: str
    images: int
    options: dict[str, Any]
    ways: tuple[str, ...]
    targets: tuple[float, ...]
    seeds: tuple[int, ...] = (0,)
    checkpoint: str | None = None

    def trials(self) -> Iterator[tuple[str, float, int]]:
        """Way, target and seed of every training but the dense one, the most telling first."""
        for target, seeds in zip(self.targets, (self.seeds, *[self.seeds[:1]] * len(self.targets)), strict=False):
            for seed in seeds:
                for way in self.ways:
                    yield way, target, seed


NARROW = f"{__name__}:narrow_vgg"
SHORT = {"lr": 0.05, "schedule": "cosine", "batch_size": 64, "precision": "bf16"}
TRAINED = {"lr": 0.02, "schedule": "cosine", "batch_size": 128, "precision": "bf16"}
STUDIES = {
    "fashion": Study(
        "narrow VGG-11, Fashion-MNIST, from scratch",
        NARROW, "fashion-mnist", 8_000, SHORT | {"epochs": 5}, tuple(WAYS), (0.5, 0.7), (0, 1, 2),
    ),
    "vgg": Study(
        "narrow VGG-11, CIFAR-10, from scratch",
        NARROW, "cifar10", 15_000, SHORT | {"epochs": 6}, CHIEF, (0.5,),
    ),
    "resnet20": Study(
        "ResNet-20, CIFAR-10, from its checkpoint",
        "resnet20", "cifar10", 20_000, TRAINED | {"epochs": 3}, CHIEF, (0.4,), checkpoint="resnet20-12fca82f.th",
    ),
    "resnet56": Study(
        "ResNet-56, CIFAR-10, from its checkpoint",
        "resnet56", "cifar10", 8_000, TRAINED | {"epochs": 2},
        ("network slimming", "proximal slimming", "proximal slimming, mcp"), (0.4,), checkpoint="resnet56-4bfd9763.th",
    ),
}  # fmt: skip
