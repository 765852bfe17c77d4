"""One training loop for all methods."""

from __future__ import annotations

import time

from torch import Tensor

from compress.penalties import resolved
from compress.progress import Progress, Silent
from compress.train.config import TrainConfig
from compress.train.device import pick_device
from compress.train.distributed import World, joined
from compress.train.reproducible import algorithms
from compress.train.run import Run, Summary
from compress.train.trackers import tracker_named
from compress.train.trainer import Trainer


def train(config: TrainConfig, *, resume: bool = False, progress: Progress | None = None) -> Summary:
    """Train, write the zeros, and report; the folder ``config.out`` holds everything.

    Started by torchrun, this is one of several processes that train one model; see `compress.train.distributed`.

    The same configuration on the same machine gives the same weights, bit by bit on the CPU, whether the
    training was interrupted and resumed or not. The weights are always those of the last epoch, or with
    ``config.ema`` their average on the way there, and the test set is read once, after all that.

    Args:
        config: what to train.
        resume: continue the run in ``config.out`` after its last whole epoch.
        progress: who wants to know.

    Raises:
        UserError: a name is unknown, a file is missing or does not fit, the folder cannot be written,
            or the loss is no longer finite.
    """
    with joined(config.device) as world, algorithms(deterministic=config.deterministic):
        settled = {"device": pick_device(config.device), "penalty": resolved(config.penalty)}
        config = config.model_copy(update=settled)
        return _train(config, world, resume, progress if progress and world.first else Silent())


def _train(config: TrainConfig, world: World, resume: bool, progress: Progress) -> Summary:
    run = Run(config.out, writes=world.first)
    with world.together():
        state = run.reopen(config) if resume else None
        if run.summary:
            return run.summary
        make_tracker = tracker_named(config.log if world.first else "none")
        trainer = Trainer(config, resumed=resume)
        if state:
            trainer.load_state_dict(state)
    with world.together():
        if not state:
            run.begin(config)
            run.save(trainer.state_dict())  # so that an interrupted first epoch leaves a run, too
        tracker = make_tracker(config.out, config.model_dump(mode="json"))
    progress.start(trainer.steps, trainer.step)
    try:
        while trainer.epoch < config.epochs:
            figures = _epoch(trainer, progress)
            run.log(figures)
            run.save(trainer.state_dict())
            tracker.log(trainer.epoch, figures)
            progress.update(0, **figures)
        summary = _conclude(trainer, run)
    finally:
        progress.stop()
        tracker.close()
    with world.together():
        run.conclude(summary, trainer.state_dict())
    return summary


def _epoch(trainer: Trainer, progress: Progress) -> dict[str, float]:
    """Train an epoch and look at the result."""
    started = time.monotonic()
    loss, score = trainer.train_epoch(progress.update)
    return {
        "epoch": trainer.epoch,
        "lr": trainer.rate(trainer.step - 1),
        "loss": loss,
        "train": score,
        "validation": trainer.score(trainer.data.validation),
        "zeros": fraction(trainer.method.zeros()),
        **trainer.method.figures(),
        "seconds": time.monotonic() - started,
    }


def _conclude(trainer: Trainer, run: Run) -> Summary:
    """Write the zeros, and find out what they cost."""
    before = run.metrics[-1]["validation"]
    changed = trainer.finish()
    zeros = trainer.method.zeros()
    reached_by = trainer.method.reached_by()
    figures = trainer.figures(trainer.data.test)
    config = trainer.config
    return Summary(
        model=config.model,
        data=config.data,
        method=config.method,
        seed=config.seed,
        epochs=config.epochs,
        train_accuracy=run.metrics[-1]["train"],
        accuracy_before_zeroing=before,
        validation_accuracy=trainer.score(trainer.data.validation) if changed else before,
        test_accuracy=figures[trainer.task.metric],
        zeros=fraction(zeros),
        target=config.target if reached_by else None,
        reached_by=reached_by,
        widths={name: (int((~mask).sum()), len(mask)) for name, mask in zeros.items()},
        seconds=sum(line["seconds"] for line in run.metrics),
        device=config.device,
        metric=trainer.task.metric,
        figures=figures,
    )


def fraction(zeros: dict[str, Tensor]) -> float:
    """Of all channels, how many are zero."""
    channels = sum(len(mask) for mask in zeros.values())
    return sum(int(mask.sum()) for mask in zeros.values()) / max(channels, 1)
