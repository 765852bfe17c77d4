"""``compress train``: learn zeros."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compress.cli.app import DataDir, DataName, JsonPath, Quiet, check_outputs, say, verb, write_json
from compress.errors import UserError
from compress.files import read_toml

if TYPE_CHECKING:
    from compress.train import Summary

MODEL_HELP = "vgg19, resnet20, densenet40, ..., torchvision:NAME or module:callable."
METHOD_HELP = (
    "proximal-slimming, proximal-gradient, network-slimming, variational-slimming (no penalty but its own): BatchNorm "
    "scales. group-slimming, orthoreg, feature-flow, fggp-groups, gradual-magnitude-groups: coupled channel groups, of "
    "any model. fggp, fggp-erk, granet, gradual-magnitude: single weights. sgd: dense."
)
PENALTY_HELP = (
    "What pulls the scales to zero: l1, elastic-net, mcp, scad, tl1, log-sum, lp or l0; "
    "with a shape as in mcp:edge=0.5, scad:edge=1,a=3.7, lp:p=2/3."
)
STRENGTH_HELP = "Of the penalty; auto finds it so that the target is met."
WARMUP_HELP = "Of the steps, in which a given strength grows to its value."
TARGET_HELP = "Fraction of the channels to become zero."
FLOOR_HELP = "Fraction of each layer's channels that the target leaves alive; one channel at least."
PATH_HELP = "Growing strengths to train with in turn, each from the weights before, in RUN/1, RUN/2, ..."
MIX_HELP = "Mix the images of a batch with one another, and their labels."
LIMIT_HELP = "Only so many training images, for a quick trial."
CONFIG_HELP = "Defaults; options given here override it."


@verb
def train(
    folder: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run.")],
    model: Annotated[str | None, typer.Option(metavar="M", help=MODEL_HELP)] = None,
    data: DataName = None,
    data_dir: DataDir = None,
    method: Annotated[str | None, typer.Option(help=METHOD_HELP)] = None,
    penalty: Annotated[str | None, typer.Option(metavar="P[:SHAPE=X]", help=PENALTY_HELP)] = None,
    strength: Annotated[str | None, typer.Option(metavar="auto|X", help=STRENGTH_HELP)] = None,
    path: Annotated[str | None, typer.Option(metavar="X,Y,...", help=PATH_HELP)] = None,
    warmup: Annotated[float | None, typer.Option(metavar="FRACTION", help=WARMUP_HELP)] = None,
    beta: Annotated[float | None, typer.Option(help="Coupling of the scales and their copies.")] = None,
    target: Annotated[float | None, typer.Option(metavar="SPARSITY", help=TARGET_HELP)] = None,
    floor: Annotated[float | None, typer.Option(metavar="FRACTION", help=FLOOR_HELP)] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Initial learning rate.")] = None,
    momentum: Annotated[float | None, typer.Option(help="Of SGD.")] = None,
    nesterov: Annotated[bool | None, typer.Option("--nesterov/--no-nesterov", help="Nesterov's momentum.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of SGD.")] = None,
    schedule: Annotated[str | None, typer.Option(metavar="step|cosine|constant", help="Of the learning rate.")] = None,
    init: Annotated[Path | None, typer.Option(metavar="CHECKPOINT", help="Weights to start from.")] = None,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", help="Where to train.")] = None,
    precision: Annotated[str | None, typer.Option(metavar="fp32|bf16", help="bf16 trains under autocast.")] = None,
    mix: Annotated[str | None, typer.Option(metavar="none|mixup|cutmix|both", help=MIX_HELP)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, order and augmentation.")] = None,
    train_limit: Annotated[int | None, typer.Option(min=2, help=LIMIT_HELP)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last whole epoch of RUN.")] = False,
    config: Annotated[Path | None, typer.Option(metavar="RUN.toml", help=CONFIG_HELP)] = None,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Train until whole channels are exactly zero. The test set is read once, at the end.

    Example: `compress train --model resnet20 --data digits --target 0.5 --epochs 20 --out runs/digits`
    """
    given = {
        "model": model, "data": data, "data_dir": data_dir, "method": method, "penalty": penalty,
        "strength": _strength(strength), "warmup": warmup, "beta": beta, "target": target, "floor": floor,
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum, "nesterov": nesterov,
        "weight_decay": weight_decay, "schedule": schedule, "init": init, "device": device,
        "precision": precision, "seed": seed, "mix": mix, "train_limit": train_limit, "out": folder,
    }  # fmt: skip
    strengths = _strengths(path, strength)
    if config is None and resume:
        config = folder / ("1/config.toml" if strengths else "config.toml")
        if not config.exists():
            raise UserError(f"nothing to resume in {folder}: it holds no run")
    settings = read_toml(config) if config is not None else {}
    settings |= {key: value for key, value in given.items() if value is not None}
    if "model" not in settings:
        raise UserError("train needs --model, or a --config that names one")
    check_outputs(json_path)
    from compress import train as trainer
    from compress.progress import Silent, progress

    wanted = trainer.TrainConfig.from_dict(settings, f"{config} or the command line" if config else "the command line")
    watch = Silent() if quiet else progress()
    if strengths:
        summaries = trainer.train_path(wanted, strengths, resume=resume, progress=watch)
        for number, (each, summary) in enumerate(zip(strengths, summaries, strict=True), start=1):
            _tell(f"{folder / str(number)}: strength {each:g}", summary)
        write_json(json_path, {"path": [asdict(summary) for summary in summaries]})
    else:
        summary = trainer.train(wanted, resume=resume, progress=watch)
        _tell(f"{folder}", summary)
        write_json(json_path, asdict(summary))


def _tell(what: str, summary: Summary) -> None:
    test, held_out = 100 * summary.test_accuracy, 100 * summary.validation_accuracy
    zeros = f"{summary.zeros:.1%} of the channels are zero"
    say(f"{what}: {zeros}, test accuracy {test:.2f} % (held-out {held_out:.2f} %)")


def _strengths(path: str | None, strength: str | None) -> list[float]:
    if path is None:
        return []
    if strength is not None:
        raise UserError("--path names the strengths: leave --strength out")
    try:
        return [float(part) for part in path.split(",")]
    except ValueError:
        raise UserError(f"--path {path}: give strengths, such as 0.01,0.03,0.1") from None


def _strength(text: str | None) -> str | float | None:
    if text in (None, "auto"):
        return text
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--strength {text}: give a number or auto") from None
