"""One training loop for all methods."""

from __future__ import annotations

import time

from torch import Tensor

from compress.penalties import resolved
from compress.progress import Progress, Silent
from compress.train.config import TrainConfig
from compress.train.device import pick_device
from compress.train.run import Run, Summary
from compress.train.trainer import Trainer


def train(config: TrainConfig, *, resume: bool = False, progress: Progress | None = None) -> Summary:
    """Train, write the zeros, and report; the folder ``config.out`` holds everything.

    The same configuration on the same machine gives the same weights, bit by bit on the CPU, whether the
    training was interrupted and resumed or not. The weights are always those of the last epoch, and the test
    set is read once, after all that.

    Args:
        config: what to train.
        resume: continue the run in ``config.out`` after its last whole epoch.
        progress: who wants to know.

    Raises:
        UserError: a name is unknown, a file is missing or does not fit, the folder cannot be written,
            or the loss is no longer finite.
    """
    settled = {"device": pick_device(config.device), "penalty": resolved(config.penalty)}
    config = config.model_copy(update=settled)
    progress = progress or Silent()
    run = Run(config.out)
    state = run.reopen(config) if resume else None
    if run.summary:
        return run.summary
    trainer = Trainer(config, resumed=resume)
    if state:
        trainer.load_state_dict(state)
    else:
        run.begin(config)
        run.save(trainer.state_dict())  # so that an interrupted first epoch leaves a run, too
    progress.start(trainer.steps, trainer.step)
    try:
        while trainer.epoch < config.epochs:
            figures = _epoch(trainer, progress)
            run.log(figures)
            run.save(trainer.state_dict())
            progress.update(0, **figures)
        summary = _conclude(trainer, run)
    finally:
        progress.stop()
    run.conclude(summary, trainer.state_dict())
    return summary


def _epoch(trainer: Trainer, progress: Progress) -> dict[str, float]:
    """Train an epoch and look at the result."""
    started = time.monotonic()
    loss, accuracy = trainer.train_epoch(progress.update)
    return {
        "epoch": trainer.epoch,
        "lr": trainer.rate(trainer.step - 1),
        "loss": loss,
        "train": accuracy,
        "validation": trainer.accuracy(trainer.data.validation),
        "zeros": _fraction(trainer.method.zeros()),
        **trainer.method.figures(),
        "seconds": time.monotonic() - started,
    }


def _conclude(trainer: Trainer, run: Run) -> Summary:
    """Write the zeros, and find out what they cost."""
    before = run.metrics[-1]["validation"]
    changed = trainer.finish()
    zeros = trainer.method.zeros()
    reached_by = trainer.method.reached_by()
    config = trainer.config
    return Summary(
        model=config.model,
        data=config.data,
        method=config.method,
        seed=config.seed,
        epochs=config.epochs,
        train_accuracy=run.metrics[-1]["train"],
        accuracy_before_zeroing=before,
        validation_accuracy=trainer.accuracy(trainer.data.validation) if changed else before,
        test_accuracy=trainer.accuracy(trainer.data.test),
        zeros=_fraction(zeros),
        target=config.target if reached_by else None,
        reached_by=reached_by,
        widths={name: (int((~mask).sum()), len(mask)) for name, mask in zeros.items()},
        seconds=sum(line["seconds"] for line in run.metrics),
        device=config.device,
    )


def _fraction(zeros: dict[str, Tensor]) -> float:
    """Of all channels, how many are zero."""
    channels = sum(len(mask) for mask in zeros.values())
    return sum(int(mask.sum()) for mask in zeros.values()) / max(channels, 1)
