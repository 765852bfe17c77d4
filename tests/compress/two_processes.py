"""What each of two processes does in test_engine_distributed: torchrun starts it with a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from compress.cli import main
from compress.errors import UserError
from compress.train import TrainConfig, train, train_path
from compress.train.distributed import World, joined
from compress.train.run import Run
from compress.train.trainer import Trainer

METHODS = (
    "proximal-slimming", "proximal-gradient", "network-slimming", "variational-slimming",
    "group-slimming", "joint-sparsity", "granet", "fggp",
)  # fmt: skip


def config(out: Path, **changes: Any) -> TrainConfig:
    small = {"model": "tiny_net:TinyNet", "epochs": 3, "train_limit": 300, "lr": 0.02, "device": "cpu"}
    return TrainConfig.from_dict({**small, "out": out, **changes})


def plain(out: Path) -> TrainConfig:
    """Without BatchNorm, and with a last batch that does not divide by two."""
    return config(out, model="tiny_net:Plain", method="sgd", train_limit=301)


def refined(out: Path, teacher: Path) -> TrainConfig:
    """With labels that are trained, too, and a last batch that does not divide by two."""
    taught = {"distill": teacher, "refine": True, "expand": True, "train_limit": 27}
    return config(out, model="tiny_net:Plain", method="sgd", **taught)


def spread(world: World, method: str, folder: Path) -> float:
    """Largest difference of any weight between the processes after five steps from two filters that are alike."""
    trainer = Trainer(config(folder / method, method=method))
    first = trainer.model.get_parameter("conv1.weight").data
    first[1] = 1.1 * first[0]
    for images, labels in trainer.batches.epoch():
        trainer.take_step(images, labels, 0.05)
    weights = torch.cat([value.flatten() for value in trainer.model.parameters()]).detach()
    everyone = [torch.empty_like(weights) for _ in range(world.size)]
    dist.all_gather(everyone, weights)
    return max(float((other - weights).abs().max()) for other in everyone)


def interrupt(stopped: TrainConfig) -> None:
    """A training whose processes stop before the second epoch is written."""
    save, calls = Run.save, []

    def saved(self: Run, state: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(self, state)

    try:
        with patch.object(Run, "save", saved):
            train(stopped)
    except KeyboardInterrupt:
        pass


def message(call: Callable[[], object]) -> str:
    try:
        call()
    except UserError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def scenario(folder: Path, world: World) -> dict[str, Any]:
    train(plain(folder / "plain"))
    train(refined(folder / "refined", folder / "plain"))
    train(config(folder / "normalised"))
    interrupt(config(folder / "resumed"))
    train(config(folder / "resumed"), resume=True)
    train_path(config(folder / "path", epochs=1), [1.0, 5.0])
    data = "digits" if world.first else "cifar10"
    return {
        "size": world.size,
        "spread": {method: spread(world, method, folder) for method in METHODS},
        "taken": message(lambda: train(config(folder / "plain"))),
        "one-lacks": message(lambda: train(config(folder / "n", data=data))),
        "small": message(lambda: train(config(folder / "n", batch_size=3))),
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    with joined("cpu") as everyone:
        found = scenario(place, everyone)
        (place / f"{everyone.rank}.json").write_text(json.dumps(found))
        sys.argv = ["compress", "train", "--model", "tiny_net:TinyNet", "--epochs", "1", "--out", f"{place}/cli"]
        main()
