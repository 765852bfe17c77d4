"""A training on random images, without data and without files, for the tests of methods."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from onnx import ModelProto
from tiny_net import TinyNet
from torch import nn
from torch.nn import functional as F

from compress.methods import METHODS, Method, Plan
from compress.penalties import L1
from graph.export import export

STEPS = 60
CHANNELS = 24  # of TinyNet

_exports: dict[type, ModelProto] = {}


def export_once(module: nn.Module, *args: Any, **options: Any) -> ModelProto:
    """What training asks of the exporter depends on the architecture alone, and takes seconds."""
    if type(module) not in _exports:
        _exports[type(module)] = export(module, *args, **options)
    return _exports[type(module)]


def plan(**changes: Any) -> Plan:
    usual = Plan(penalty=L1, strength=None, shape=(1, 8, 8), target=0.5, steps=STEPS, rate=lambda step: 0.1)
    return replace(usual, **changes)


@dataclass
class Training:
    name: str
    plan: Plan
    zeros_given: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = TinyNet()
        with torch.no_grad():
            self.model.bn2.weight[: self.zeros_given] = 0
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        self.method: Method = METHODS.get(self.name)()
        with patch("compress.bridge.coupling.export", export_once):
            self.method.setup(self.model, self.optimizer, self.plan)
        self.step = 0

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self.step += 1
            generator = torch.Generator().manual_seed(self.step)
            images = torch.randn(16, 1, 8, 8, generator=generator)
            labels = torch.randint(10, (16,), generator=generator)
            self.optimizer.zero_grad()
            logits = self.model(images)
            (F.cross_entropy(logits, labels) + self.method.loss_terms(self.model, logits)).backward()
            self.method.after_backward()
            self.optimizer.step()
            self.method.after_step(0.1)

    def state(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "method": self.method}
        buffer = io.BytesIO()
        torch.save({key: part.state_dict() for key, part in parts.items()}, buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)

    def restore(self, state: dict[str, Any], step: int) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        self.step = step

    def mask(self) -> torch.Tensor:
        return torch.cat(list(self.method.zeros().values()))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
