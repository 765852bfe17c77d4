"""A regularisation path: trainings with growing strengths, each from the weights that the one before left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from compress.errors import UserError
from compress.files import write_text
from compress.progress import Progress
from compress.train.config import TrainConfig
from compress.train.distributed import joined
from compress.train.loop import train
from compress.train.run import CHECKPOINT, Summary


def train_path(
    config: TrainConfig, strengths: Sequence[float], *, resume: bool = False, progress: Progress | None = None
) -> list[Summary]:
    """Train with each of ``strengths`` in turn; what comes out is a front of accuracy against size.

    Warm starts are those of Friedman, Hastie and Tibshirani (J. Stat. Softw. 33, 2010, section 2.5), but from the
    weakest strength up, since a network starts dense. The runs are the folders 1, 2, ... of ``config.out``, beside
    path.json with their strengths and summaries.

    Args:
        config: of every run; the first one starts from ``config.init``.
        strengths: growing.
        resume: continue after the last whole epoch of the run that was interrupted.
        progress: who wants to know.

    Raises:
        UserError: the strengths do not grow, or a training fails.
    """
    if not strengths or min(strengths) <= 0 or list(strengths) != sorted(set(strengths)):
        raise UserError(f"a path needs growing strengths above 0, not {', '.join(f'{s:g}' for s in strengths)}")
    with joined(config.device) as world:
        summaries = _train_path(config, strengths, resume, progress)
        if world.first:
            front = [{"strength": s, **asdict(summary)} for s, summary in zip(strengths, summaries, strict=True)]
            write_text(config.out / "path.json", json.dumps({"schema": 1, "path": front}, indent=2) + "\n")
    return summaries


def _train_path(
    config: TrainConfig, strengths: Sequence[float], resume: bool, progress: Progress | None
) -> list[Summary]:
    summaries: list[Summary] = []
    start = config.init
    for number, strength in enumerate(strengths, start=1):
        out = config.out / str(number)
        stage = config.model_copy(update={"strength": strength, "init": start, "out": out})
        summaries.append(train(stage, resume=resume and (out / CHECKPOINT).exists(), progress=progress))
        start = out
    return summaries
