"""What the methods and the loader add to a training step: ``python -m tests.benchmarks.overhead``.

* Step: a step of ResNet-56 on a batch of CIFAR's size with each method, over the same one with plain SGD: two
  trainings in one process that take steps in turns; the fastest of each count, since what else the machine does only
  ever slows down. Beside it, as a second opinion, the time spent in the method's own moments over that of the rest of
  the same step, the median of all steps and its quartiles.
* Loader: images per second of training from the `Loader` (order, augmentation, normalisation), over those of a loop
  over tensors that were loaded and normalised beforehand, in turns; the fastest rounds of each count.

Times are those of the processor on a CPU, and of the clock on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compress.data import DATA, Images, Source, Spec
from compress.train import TrainConfig
from compress.train.device import pick_device
from compress.train.trainer import Trainer

METHODS = {
    "proximal-slimming": {"strength": 1e-3},
    "proximal-slimming, healing": {"strength": 1e-3},
    "proximal-gradient": {"strength": 1e-4},
    "network-slimming": {"strength": 1e-4},
    "variational-slimming": {"strength": 1e-6},
    "group-slimming": {"strength": 1e-4},
    "group-slimming, healing": {"strength": 1e-4},
}
WARM = 2  # steps that do not count
MOMENTS = ("after_backward", "after_step")


def noise(folder: Path | None) -> Source:
    """Random images of CIFAR's size: what is in them does not matter here."""
    spec = Spec("noise", (3, 32, 32), 10, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, "crop-flip")
    random = np.random.default_rng(0)
    images = Images(random.integers(0, 256, (4000, 3, 32, 32), np.uint8), random.integers(0, 10, 4000))
    return Source(spec, train=lambda: images, test=lambda: images)


@dataclass
class Clock:
    """Seconds: of the processor, or of a device that is waited for."""

    device: str
    spent: list[float] = field(default_factory=list)

    def now(self) -> float:
        """The time."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, work: Callable[[], object]) -> float:
        """How long ``work`` takes."""
        begin = self.now()
        work()
        return self.now() - begin


def trainer(model: str, method: str, batch: int, device: str) -> Trainer:
    """A training with one method, in its healing phase if the name says so."""
    name, _, phase = method.partition(", ")
    settings = {"model": model, "data": "noise", "method": name, "batch_size": batch, "device": device, "out": "unused"}
    made = Trainer(TrainConfig.from_dict({**settings, **METHODS.get(method, {})}))
    made.model.train()
    if phase:
        mask = torch.zeros(len(made.method.units), dtype=torch.bool, device=device)
        mask[::2] = True
        made.method.mask = mask
    return made


def watched(made: Trainer, clock: Clock) -> None:
    """Let ``clock`` note how long the method's own moments take."""
    for moment in MOMENTS:
        call = getattr(made.method, moment)
        setattr(made.method, moment, lambda *args, call=call: clock.spent.append(clock.timed(partial(call, *args))))


def steps(clock: Clock, model: str, batch: int, repeats: int) -> Iterator[str]:
    """A row per method."""
    dense = trainer(model, "sgd", batch, clock.device)
    images, labels = next(dense.batches.epoch())
    for method in METHODS:
        ours = trainer(model, method, batch, clock.device)
        base, mine, shares = [], [], []
        for repeat in range(repeats + WARM):
            base.append(clock.timed(partial(dense.take_step, images, labels, 0.1)))
            if repeat == WARM:
                watched(ours, clock)
            clock.spent.clear()
            mine.append(clock.timed(partial(ours.take_step, images, labels, 0.1)))
            if repeat >= WARM:
                shares.append(sum(clock.spent) / (mine[-1] - sum(clock.spent)))
        low, middle, high = statistics.quantiles(shares, n=4)
        share = f"{middle:.2%} [{low:.2%}, {high:.2%}]"
        yield f"| {method} | {1e3 * min(base):.0f} | {min(mine) / min(base) - 1:+.1%} | {share} |"


def loading(clock: Clock, model: str, batch: int, repeats: int) -> str:
    """The row of the loader."""
    made = trainer(model, "sgd", batch, clock.device)
    count = 8
    ready = list(islice(made.batches.epoch(), count))

    def run(batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        for images, labels in batches:
            made.take_step(images, labels, 0.01)

    base, mine = [], []
    for repeat in range(repeats):
        base.append(clock.timed(lambda: run(iter(ready))))
        mine.append(clock.timed(partial(lambda index: run(islice(made.batches.epoch(index), count)), repeat)))
    return f"| {model} | {batch} | {count * batch / min(mine):.0f} | {min(base) / min(mine):.3f} |"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.overhead", description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    DATA.register("noise")(noise)
    torch.set_num_threads(1)
    clock = Clock(pick_device(options.device))
    print("| method | SGD step, ms | whole step, over SGD's | the method's moments, over the rest |")
    print("|---|---|---|---|")
    for row in steps(clock, "resnet56", options.batch, options.repeats):
        print(row, flush=True)
    print("\n| model | batch | images/s with the loader | over preloaded tensors |")
    print("|---|---|---|---|")
    for model in ("resnet20", "resnet56"):
        print(loading(clock, model, options.batch, options.repeats), flush=True)


if __name__ == "__main__":
    main()
