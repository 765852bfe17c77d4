"""A table of latencies: single layers by their input and output channels, measured on this machine, interpolated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from compress.bench.staircase import quickest
from compress.bench.widths import STEP, Form
from compress.progress import Progress
from compress.remembered import cache_file, machine, remember, remembered
from runtime import Plan, Settings

SCHEMA = 1
PLAN = Plan(rounds=2, min_time=0.02, min_pairs=8, max_time=1.0, precision=math.inf, warmup_time=0.0, warmup_runs=2)

Timer = Callable[[Form], float]


class LatencyTable:
    """What layers take alone, with a ReLU behind.

    A width is looked up between the nearest measured ones: whole blocks of `STEP` channels, at most two to a doubling
    from 64 on, and all that are less than one block. A layer whose input is a multiple of 4 takes as long as
    with whole blocks; for any other one ONNX Runtime has other kernels on a CPU, which are measured at widths of a
    block less one.

    Args:
        settings: how layers are run.
        cache: the file that remembers; the user's if None.
        timer: of a layer, in seconds; measures with ONNX Runtime if None.
    """

    def __init__(self, settings: Settings, cache: Path | None = None, timer: Timer | None = None) -> None:
        self.cache, self.here = cache or cache_file("layers.json"), machine(settings)
        self.timer = timer or (lambda form: quickest(form.network(form.width, read=False), settings, PLAN))
        known = remembered(self.cache, SCHEMA).get(self.here)
        self.times: dict[str, float] = {}
        if isinstance(known, dict):
            self.times = {name: time for name, time in known.items() if isinstance(time, float) and time > 0}

    def measure(self, forms: Iterable[Form], progress: Progress) -> None:
        """Measure what `seconds` needs for ``forms`` and is not known yet.

        Raises:
            SessionError: ONNX Runtime does not run a layer.
        """
        needed = {str(corner): corner for form in dict.fromkeys(forms) for corner, _ in _corners(form)}
        missing = {name: corner for name, corner in needed.items() if name not in self.times}
        if not missing:
            return
        progress.start(len(missing))
        try:
            for name, corner in missing.items():
                self.times[name] = self.timer(corner)
                progress.update(1)
        finally:
            progress.stop()
            remember(self.cache, SCHEMA, remembered(self.cache, SCHEMA) | {self.here: self.times})

    def seconds(self, form: Form) -> float:
        """Bilinear between what was measured."""
        return sum(share * self.times[str(corner)] for corner, share in _corners(form))


def _corners(form: Form) -> list[tuple[Form, float]]:
    """The measured layers around one, and their shares."""
    blocks = form.inputs % 4 == 0
    outputs = _around(form.width, blocks)
    if form.depthwise:
        return [(form.at(width, width), share) for width, share in outputs]
    inputs = _around(form.inputs, blocks)
    return [(form.at(one, two), share * other) for one, share in inputs for two, other in outputs]


def _around(width: int, blocks: bool) -> list[tuple[int, float]]:
    """The measured widths around one, and their shares."""
    if width < STEP:
        return [(width, 1.0)]
    less = 0 if blocks else 1
    if blocks:
        width = -(-width // STEP) * STEP
    step = max(STEP, 2 ** ((width - 1).bit_length() - 1) // 2)
    low = (width + less) // step * step - less
    if low == width:
        return [(width, 1.0)]
    share = (width - low) / step
    return [(low, 1 - share), (low + step, share)]
