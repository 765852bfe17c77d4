"""``compress train``: learn zeros."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compress.cli.app import BAD_INPUT, DataDir, DataName, JsonPath, Quiet, check_outputs, say, verb, write_json
from compress.errors import UserError
from compress.files import read_toml

if TYPE_CHECKING:
    from compress.train import Summary

MODEL_HELP = "vgg19, resnet20, densenet40, ..., torchvision:NAME or module:callable."
METHOD_HELP = (
    "proximal-slimming, proximal-gradient, network-slimming, variational-slimming (no penalty but its own): BatchNorm "
    "scales. group-slimming, orthoreg, joint-sparsity, feature-flow, fggp-groups, gradual-magnitude-groups: coupled "
    "channel groups, of any model. fggp, fggp-erk, granet, gradual-magnitude: single weights. sgd: dense."
)
PENALTY_HELP = (
    "What pulls the scales to zero: l1, elastic-net, mcp, scad, tl1, log-sum, lp or l0; "
    "with a shape as in mcp:edge=0.5, scad:edge=1,a=3.7, lp:p=2/3."
)
STRENGTH_HELP = "Of the penalty; auto finds it so that the target is met."
WARMUP_HELP = "Of the steps, in which a given strength grows to its value."
TARGET_HELP = "Fraction of the channels to become zero."
FLOOR_HELP = "Fraction of each layer's channels that the target leaves alive; one channel at least."
BATCH_HELP = "Images per step, in all passes and processes together."
PATH_HELP = "Growing strengths to train with in turn, each from the weights before, in RUN/1, RUN/2, ..."
MIX_HELP = "Mix the images of a batch with one another, and their labels."
SCRATCH_HELP = "Of the checkpoint only the zeros: train the thin network from random weights."
SMOOTHING_HELP = "Share of the target that is spread over all classes."
CLIP_HELP = "Largest norm of the gradient of the loss; 0: any."
ACCUMULATE_HELP = "Passes per step, each of a part of the batch."
EMA_HELP = "Evaluate and export an average of the weights with this decay, such as 0.999; 0: the last ones."
DETERMINISTIC_HELP = "Only algorithms that give the same bits every time, on a GPU, too."
LOG_HELP = "Who gets the figures of every epoch, too."
LIMIT_HELP = "Only the first so many training images."
INIT_HELP = "Weights to start from; also an ONNX file that was exported from M and pruned."
DISTILL_HELP = "Learn from the answers of a trained network, too: a run, a checkpoint or an ONNX file."
WEIGHT_HELP = "Of what the teacher says in the loss; 0.7 if not given."
TEMPERATURE_HELP = "Of the answers of teacher and student; 2 if not given."
EXPAND_HELP = "Six copies of every image: itself, blocks shuffled (3 ways), a part cut out, rotated."
REFINE_HELP = "Begin with the teacher's answers to the training images, and train these, too."
CONFIG_HELP = "Defaults; options given here override it."
COMMAND_LINE = "the command line"


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
    batch_size: Annotated[int | None, typer.Option(min=2, help=BATCH_HELP)] = None,
    lr: Annotated[float | None, typer.Option(help="Initial learning rate.")] = None,
    momentum: Annotated[float | None, typer.Option(help="Of SGD.")] = None,
    nesterov: Annotated[bool | None, typer.Option("--nesterov/--no-nesterov", help="Nesterov's momentum.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of SGD.")] = None,
    schedule: Annotated[str | None, typer.Option(metavar="step|cosine|constant", help="Of the learning rate.")] = None,
    init: Annotated[Path | None, typer.Option(metavar="CHECKPOINT", help=INIT_HELP)] = None,
    from_scratch: Annotated[bool | None, typer.Option("--from-scratch", help=SCRATCH_HELP)] = None,
    distill: Annotated[Path | None, typer.Option(metavar="TEACHER", help=DISTILL_HELP)] = None,
    distill_weight: Annotated[float | None, typer.Option(metavar="SHARE", help=WEIGHT_HELP)] = None,
    temperature: Annotated[float | None, typer.Option(metavar="T", help=TEMPERATURE_HELP)] = None,
    expand: Annotated[bool | None, typer.Option("--expand/--no-expand", help=EXPAND_HELP)] = None,
    refine: Annotated[bool | None, typer.Option("--refine/--no-refine", help=REFINE_HELP)] = None,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", help="Where to train.")] = None,
    precision: Annotated[str | None, typer.Option(metavar="fp32|bf16", help="bf16 trains under autocast.")] = None,
    mix: Annotated[str | None, typer.Option(metavar="none|mixup|cutmix|both", help=MIX_HELP)] = None,
    label_smoothing: Annotated[float | None, typer.Option(metavar="SHARE", help=SMOOTHING_HELP)] = None,
    clip_norm: Annotated[float | None, typer.Option(metavar="NORM", help=CLIP_HELP)] = None,
    accumulate: Annotated[int | None, typer.Option(min=1, metavar="N", help=ACCUMULATE_HELP)] = None,
    ema: Annotated[float | None, typer.Option(metavar="DECAY", help=EMA_HELP)] = None,
    compile: Annotated[bool | None, typer.Option("--compile/--no-compile", help="Train through torch.compile.")] = None,
    deterministic: Annotated[bool | None, typer.Option("--deterministic", help=DETERMINISTIC_HELP)] = None,
    log: Annotated[str | None, typer.Option(metavar="none|tensorboard|mlflow|wandb", help=LOG_HELP)] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, order and augmentation.")] = None,
    train_limit: Annotated[int | None, typer.Option(min=2, help=LIMIT_HELP)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last whole epoch of RUN.")] = False,
    config: Annotated[Path | None, typer.Option(metavar="RUN.toml", help=CONFIG_HELP)] = None,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Train until whole channels are exactly zero. The test set is read once, at the end.

    Example: `compress train --model resnet20 --data digits --target 0.5 --epochs 20 --out runs/digits`

    Several GPUs or machines: `torchrun --nproc-per-node 4 -m compress train ...`
    """
    given = {
        "model": model, "data": data, "data_dir": data_dir, "method": method, "penalty": penalty,
        "strength": _strength(strength), "warmup": warmup, "beta": beta, "target": target, "floor": floor,
        "epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum, "nesterov": nesterov,
        "weight_decay": weight_decay, "schedule": schedule, "init": init, "device": device,
        "from_scratch": from_scratch, "precision": precision, "seed": seed, "mix": mix, "train_limit": train_limit,
        "label_smoothing": label_smoothing, "clip_norm": clip_norm, "accumulate": accumulate, "ema": ema,
        "compile": compile, "deterministic": deterministic, "log": log, "out": folder, "distill": distill,
        "distill_weight": distill_weight, "temperature": temperature, "expand": expand, "refine": refine,
    }  # fmt: skip
    try:
        strengths = _strengths(path, strength)
        settings = _settings(given, config, folder / "1" if strengths else folder, resume)
        check_outputs(json_path)
        from compress import train as trainer
        from compress.progress import Silent, progress
        from compress.train.distributed import Told

        wanted = trainer.TrainConfig.from_dict(settings, f"{config} or the command line" if config else COMMAND_LINE)
    except UserError:
        if _follows():  # all processes see the same options: one tells
            raise typer.Exit(BAD_INPUT) from None
        raise
    watch = Silent() if quiet else progress()
    try:
        if strengths:
            summaries = trainer.train_path(wanted, strengths, resume=resume, progress=watch)
        else:
            summaries = [trainer.train(wanted, resume=resume, progress=watch)]
    except Told:
        raise typer.Exit(BAD_INPUT) from None
    if _follows():
        return
    if strengths:
        for number, (each, summary) in enumerate(zip(strengths, summaries, strict=True), start=1):
            _tell(f"{folder / str(number)}: strength {each:g}", summary)
        write_json(json_path, {"path": [asdict(summary) for summary in summaries]})
    else:
        _tell(f"{folder}", summaries[0])
        write_json(json_path, asdict(summaries[0]))


def _follows() -> bool:
    """This is one of several processes, and not the first of them, which talks."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"


def _settings(given: dict[str, Any], config: Path | None, folder: Path, resume: bool) -> dict[str, Any]:
    """The options, and where they say nothing the file, or the run that is to be resumed."""
    if config is None and resume:
        config = folder / "config.toml"
        if not config.exists():
            raise UserError(f"nothing to resume in {folder}: it holds no run")
    settings = read_toml(config) if config is not None else {}
    settings |= {key: value for key, value in given.items() if value is not None}
    if "model" not in settings:
        raise UserError("train needs --model, or a --config that names one")
    return settings


def _tell(what: str, summary: Summary) -> None:
    test, held_out = 100 * summary.test_accuracy, 100 * summary.validation_accuracy
    zeros = f"{summary.zeros:.1%} of the channels are zero"
    say(f"{what}: {zeros}, test {summary.metric} {test:.2f} % (held-out {held_out:.2f} %)")


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
