"""BatchNorm statistics of the network as it is in the end."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from compress.train import TrainConfig
from compress.train.recalibrate import recalibrate
from compress.train.trainer import Trainer


def test_recalibration_is_the_plain_average_and_touches_no_weight() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2)).eval()
    batches = [(torch.randn(4, 2, 3, 3), torch.zeros(4)) for _ in range(5)]
    before = {name: value.clone() for name, value in model.named_parameters()}
    recalibrate(model, batches)
    expected = torch.stack([images.mean((0, 2, 3)) for images, _ in batches]).mean(0)
    assert torch.allclose(model[0].running_mean, expected, atol=1e-6)
    assert (model[0].momentum, model.training) == (0.1, False)
    assert all(torch.equal(before[name], value) for name, value in model.named_parameters())


def test_statistics_with_a_long_memory_are_measured_anew(tmp_path: Path) -> None:
    """As those of MobileNetV3, which zeros and small scales leave behind."""
    fresh, found = [], []
    for slow in (False, True):
        trainer = Trainer(TrainConfig(model="tiny_net:TinyNet", epochs=1, train_limit=256, device="cpu", out=tmp_path))
        for layer in (trainer.model.bn1, trainer.model.bn2):
            layer.momentum = 0.01 if slow else 0.1
        trainer.method.finish = lambda: False
        trainer.train_epoch(lambda steps: None)
        assert trainer.finish() == slow
        found.append(trainer.model.bn2.running_mean.clone())
        recalibrate(trainer.model, trainer.batches.epoch(1))
        fresh.append(trainer.model.bn2.running_mean)
    assert torch.equal(found[1], fresh[1])
    assert not torch.equal(found[0], fresh[0])
