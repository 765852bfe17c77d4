"""A step of training: passes, targets, gradients, compilation, determinism."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compress.errors import UserError
from compress.progress import Silent
from compress.train import TrainConfig, train
from compress.train.mixing import mixing
from compress.train.trainer import Trainer


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(**changes: Any) -> TrainConfig:
        small = {"model": "tiny_net:TinyNet", "epochs": 2, "train_limit": 200, "lr": 0.02, "out": tmp_path / "run"}
        return TrainConfig.from_dict({**small, "device": "cpu", **changes})

    return make


def weights(trainer: Trainer) -> list[Tensor]:
    return [parameter.detach() for parameter in trainer.model.parameters()]


def stepped(config: TrainConfig, steps: int = 3) -> Trainer:
    trainer = Trainer(config)
    trainer.model.train()
    for step, (images, labels) in enumerate(trainer.batches.epoch()):
        if step < steps:
            trainer.take_step(images, labels, config.lr)
    return trainer


def refused(config: TrainConfig) -> str:
    with pytest.raises(UserError) as caught:
        train(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- passes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [2, 3, 5])
@pytest.mark.parametrize("method", ["sgd", "fggp", "granet"])
def test_several_passes_are_one_step(passes: int, method: str, config: Callable[..., TrainConfig]) -> None:
    plain = partial(config, model="tiny_net:Plain", method=method)
    for one, several in zip(weights(stepped(plain())), weights(stepped(plain(accumulate=passes))), strict=True):
        assert torch.allclose(one, several, atol=1e-6)


def test_passes_see_the_whole_batch_and_report_its_loss(config: Callable[..., TrainConfig]) -> None:
    one, three = (Trainer(config(model="tiny_net:Plain", method="sgd", accumulate=n)) for n in (1, 3))
    assert three.train_epoch(lambda n: None) == pytest.approx(one.train_epoch(lambda n: None), rel=1e-5)


@pytest.mark.parametrize("method", ["variational-slimming", "proximal-slimming"])
def test_a_method_counts_steps_not_passes(method: str, config: Callable[..., TrainConfig]) -> None:
    run = config(method=method, accumulate=4, target=0.5)
    summary = train(run)
    assert summary.zeros == pytest.approx(0.5, abs=0.03)


def test_a_batch_too_small_for_its_passes(config: Callable[..., TrainConfig]) -> None:
    assert "give a larger --batch-size" in refused(config(batch_size=8, accumulate=5))


def test_a_small_last_batch_takes_fewer_passes(config: Callable[..., TrainConfig]) -> None:
    train(config(train_limit=67, accumulate=8))  # 64 + 3 images


# ---- targets and gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", ["none", "mixup"])
def test_label_smoothing_is_that_of_cross_entropy(mix: Any) -> None:
    images, labels, logits = torch.randn(6, 1, 4, 4), torch.randint(5, (6,)), torch.randn(6, 5)
    torch.manual_seed(0)
    _, targets = mixing(mix, 5)(images, labels)
    torch.manual_seed(0)
    _, smooth = mixing(mix, 5, 0.1)(images, labels)
    expected = F.cross_entropy(logits, targets, label_smoothing=0.1)
    assert torch.allclose(F.cross_entropy(logits, smooth), expected)


def test_the_gradient_of_the_loss_is_clipped(config: Callable[..., TrainConfig]) -> None:
    free, clipped = (Trainer(config(method="sgd", clip_norm=norm)) for norm in (0.0, 1e-3))
    images, labels = next(iter(free.batches.epoch()))
    norms = []
    for trainer in (free, clipped):
        trainer.take_step(images, labels, 0.1)
        norms.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]).norm().item())
    assert norms[0] > 0.01
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


class Exploding(nn.Module):
    """Its outputs are infinite from the third batch on."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)
        self.batches = 0

    def forward(self, x: Tensor) -> Tensor:
        self.batches += self.training
        return self.linear(x.flatten(1)) * (float("inf") if self.batches > 5 else 1.0)


def test_a_loss_that_is_not_finite_is_told_with_its_step(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    run = config(model="test_engine_steps:Exploding", method="sgd", epochs=3)  # 4 steps in an epoch
    assert "in epoch 2, step 6 of 12" in refused(run)
    assert torch.load(run.out / "checkpoint.pt", weights_only=True)["epoch"] == 1


# ---- compilation and determinism ------------------------------------------------------------------------


def test_compiled_training_takes_the_same_steps(
    config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    for plain, compiled in zip(weights(stepped(config())), weights(stepped(config(compile=True))), strict=True):
        assert torch.allclose(plain, compiled, atol=1e-6)


def test_a_model_that_does_not_compile(config: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise ValueError("no\nsuch compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    assert "leave --compile out" in refused(config(compile=True))


class Undetermined(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        if torch.are_deterministic_algorithms_enabled() and self.training:
            raise RuntimeError("fold_backward_cuda does not have a deterministic implementation, but ...")
        return self.linear(x.flatten(1))


def test_deterministic_algorithms_are_asked_for_and_missing_ones_named(config: Callable[..., TrainConfig]) -> None:
    run = config(model="test_engine_steps:Undetermined", method="sgd", deterministic=True)
    assert "--deterministic: fold_backward_cuda does not have" in refused(run)
    assert not torch.are_deterministic_algorithms_enabled()
    train(config(deterministic=True, epochs=1, out=run.out.parent / "other"))


class Dropout(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_what_is_drawn_on_the_way_is_drawn_again_by_a_resumed_run(
    config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    class Stop(Silent):
        def update(self, n: int = 0, **figures: float) -> None:
            if figures.get("epoch") == 1:
                raise KeyboardInterrupt

    runs = [config(model="test_engine_steps:Dropout", method="sgd", out=tmp_path / name) for name in "ab"]
    train(runs[0])
    with pytest.raises(KeyboardInterrupt):
        train(runs[1], progress=Stop())
    torch.rand(5)
    train(runs[1], resume=True)
    a, b = (torch.load(run.out / "checkpoint.pt", weights_only=True)["model"] for run in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)


# ---- warm-up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "proximal-slimming"}, "--warmup is for a given --strength"),
        ({"method": "variational-slimming", "strength": 1e-6}, "leave --warmup out"),
        ({"method": "sgd"}, "leave --warmup out"),
        ({"method": "granet", "strength": 0.1}, "leave --warmup out"),
    ],
)
def test_a_warm_up_of_nothing_is_refused(
    changes: dict[str, Any], expected: str, config: Callable[..., TrainConfig]
) -> None:
    assert expected in refused(config(warmup=0.5, **changes))


@pytest.mark.parametrize("method", ["proximal-slimming", "proximal-gradient", "network-slimming"])
def test_a_given_strength_warms_up(method: str, config: Callable[..., TrainConfig]) -> None:
    cold = stepped(config(method=method, strength=0.05, lr=0.1))
    warm = stepped(config(method=method, strength=0.05, lr=0.1, warmup=1.0))
    assert warm.method.figures()["scale"] > cold.method.figures()["scale"]
