"""``compress train``: learn zeros."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.cli.app import DataDir, DataName, JsonPath, Quiet, out, verb, write_json
from compress.errors import UserError


@verb
def train(
    folder: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run.")],
    model: Annotated[str | None, typer.Option(metavar="M", help="vgg19, resnet20, densenet40, ..., torchvision:NAME or module:callable.")] = None,
    data: DataName = None,
    data_dir: DataDir = None,
    method: Annotated[str | None, typer.Option(help="proximal-slimming, network-slimming or sgd.")] = None,
    penalty: Annotated[str | None, typer.Option(help="What pulls the scales to zero: l1.")] = None,
    strength: Annotated[str | None, typer.Option(metavar="auto|X", help="Of the penalty; auto finds it so that the target is met.")] = None,
    beta: Annotated[float | None, typer.Option(help="Coupling of the scales and their copies.")] = None,
    target: Annotated[float | None, typer.Option(metavar="SPARSITY", help="Fraction of the channels to become zero.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(min=2)] = None,
    lr: Annotated[float | None, typer.Option(help="Initial learning rate.")] = None,
    momentum: Annotated[float | None, typer.Option()] = None,
    nesterov: Annotated[bool | None, typer.Option("--nesterov/--no-nesterov")] = None,
    weight_decay: Annotated[float | None, typer.Option()] = None,
    schedule: Annotated[str | None, typer.Option(metavar="step|cosine|constant", help="Of the learning rate.")] = None,
    init: Annotated[Path | None, typer.Option(metavar="CHECKPOINT", help="Weights to start from.")] = None,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda")] = None,
    precision: Annotated[str | None, typer.Option(metavar="fp32|bf16")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    train_limit: Annotated[int | None, typer.Option(min=2, help="Only so many training images, for a quick trial.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last whole epoch of RUN.")] = False,
    config: Annotated[Path | None, typer.Option(metavar="RUN.toml", help="Defaults; options given here override it.")] = None,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Train until whole channels are exactly zero. The test set is read once, at the end.

    Example: `compress train --model resnet20 --data digits --target 0.5 --epochs 20 --out runs/digits`
    """
    given = {
        "model": model, "data": data, "data_dir": data_dir, "method": method, "penalty": penalty, "beta": beta,
        "strength": strength if strength in (None, "auto") else _number("--strength", strength), "target": target,
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum, "nesterov": nesterov,
        "weight_decay": weight_decay, "schedule": schedule, "init": init, "device": device, "precision": precision,
        "seed": seed, "train_limit": train_limit, "out": folder,
    }  # fmt: skip
    if config is None and resume:
        config = folder / "config.toml"
    settings = _read(config) if config is not None else {}
    settings |= {key: value for key, value in given.items() if value is not None}
    if "model" not in settings:
        raise UserError("train needs --model, or a --config that names one")
    from compress import train as trainer
    from compress.progress import Silent, progress

    summary = trainer.train(
        trainer.TrainConfig.from_dict(settings, str(config or "the command line")),
        resume=resume,
        progress=Silent() if quiet else progress(),
    )
    out.print(
        f"{folder}: {summary.zeros:.1%} of the channels are zero, test accuracy {100 * summary.test_accuracy:.2f} % "
        f"(held-out {100 * summary.validation_accuracy:.2f} %)"
    )
    write_json(json_path, asdict(summary))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{option} {text}: give a number or auto") from None
