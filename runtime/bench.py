"""The speed of a model, alone or against another one: latency, or throughput of several streams."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from runtime.environment import environment, resident_bytes
from runtime.measure import Open, Plan, Progress, Samples, measure
from runtime.nvml import gpu
from runtime.parity import Parity
from runtime.providers import device
from runtime.session import Array
from runtime.settings import Settings
from runtime.stats import MINIMUM_EFFECT, Comparison, Interval, Summary, Times, compare_times, summarise
from runtime.throughput import inferences_per_block, streams_opener
from runtime.trial import Model, Trial, opener, trial

SCHEMA = 1
BLOCKS: dict[str, Any] = {"min_pairs": 30, "warmup_runs": 2}  # of a plan for throughput, whose runs are long


@dataclass(frozen=True)
class BenchResult:
    """A measurement: the samples, and all that can be said from them.

    Attributes:
        settings: what was asked for, with the names and hashes of the models and the shapes of their inputs.
        environment: what it ran on.
        samples: raw times in seconds.
        inferences: that one sample is the time of: 1 for latency.
        rows: samples of the model's input in one inference.
        candidate: summary of the model.
        reference: summary of the model it was measured against, if any.
        comparison: of the two; its ratio is reference / candidate, the speedup of the candidate.
        parity: how far the outputs of both are apart on the inputs that were timed.
        joules: energy of the GPU per inference, of the candidate and of the reference, where NVML tells.
        resident_bytes: memory of the whole process after the measurement.
    """

    settings: dict[str, Any]
    environment: dict[str, Any]
    samples: Samples
    inferences: int
    rows: int
    candidate: Summary
    reference: Summary | None
    comparison: Comparison | None
    parity: Parity | None
    joules: tuple[float | None, ...] | None
    resident_bytes: int | None

    def throughput(self, summary: Summary) -> float:
        """Samples of input per second."""
        return self.inferences * self.rows / summary.median

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: an interval that too few rounds leave open ends in None."""
        samples = self.samples
        return {
            "schema": SCHEMA,
            "environment": self.environment,
            "settings": self.settings,
            "samples": {
                "unit": "ns",
                "inferences": self.inferences,
                "candidate": _nanoseconds(samples.candidate),
                "reference": None if samples.reference is None else _nanoseconds(samples.reference),
                "candidate_first": samples.candidate_first.astype(int).tolist(),
                "round": samples.round.tolist(),
                "stopped_by": samples.stopped_by,
            },
            "summary": {
                "unit": "s",
                "candidate": asdict(self.candidate),
                "reference": self.reference and asdict(self.reference),
                "rows_per_second": [self.throughput(each) for each in (self.candidate, self.reference) if each],
                "joules_per_inference": self.joules and list(self.joules),
                "resident_bytes": self.resident_bytes,
            },
            "comparison": self.comparison and comparison_figures(self.comparison),
            "parity": self.parity and self.parity.to_dict(),
        }

    def to_json(self) -> str:
        """``to_dict`` as text."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":")) + "\n"


def bench(
    model: Model,
    against: Model | None = None,
    *,
    settings: Settings | None = None,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    given: Mapping[str, Array] | None = None,
    streams: int | None = None,
    transfers: bool = False,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Latency of one inference of ``model``, or throughput of several streams of them.

    With ``against`` both are timed in turns and compared. The ratio is the speedup of ``model``, which is
    time of ``against`` / time of ``model``: above 1 ``model`` is the faster one.

    Args:
        model: the candidate.
        against: the reference; None to time the candidate alone.
        settings: how both are run.
        batch: None for the batch size that the model is fixed to, or 1.
        dims: sizes of other dynamic axes, see ``random_feeds``.
        given: inputs that are not random, by name.
        streams: None for latency; or how many inferences run at a time, each in its own thread.
        transfers: latency counts the way of inputs and outputs from and to the memory of the host.
        plan: when to stop.
        progress: told how it goes.

    Raises:
        SessionError: as `runtime.trial.trial`.
    """
    plan = plan or Plan()
    subject = trial(model, against, settings=settings, batch=batch, dims=dims, given=given)
    around = environment()  # before the measurement, which is a load itself
    inferences, make = 1, partial(opener, subject, transfers=transfers)
    if streams is not None:
        each = inferences_per_block(subject, streams)
        inferences, make = streams * each, partial(streams_opener, subject, streams, each)
        plan = replace(plan, **BLOCKS)
    reference = None if against is None else make(against)
    samples = measure(make(model), reference, plan, progress=progress)
    times = samples.reference
    return BenchResult(
        settings={
            **subject.described,
            "mode": "latency" if streams is None else "throughput",
            "streams": streams,
            "transfers": transfers,
            "plan": asdict(plan),
        },
        environment=around,
        samples=samples,
        inferences=inferences,
        rows=subject.rows,
        candidate=summarise(samples.candidate, samples.round),
        reference=None if times is None else summarise(times, samples.round),
        comparison=None if times is None else compare_times(times, samples.candidate, samples.round),
        parity=subject.parity,
        joules=_joules(subject, make, inferences),
        resident_bytes=resident_bytes(),
    )


def comparison_figures(comparison: Comparison) -> dict[str, Any]:
    """For JSON: both intervals, the verdict, and the effect that it needs at least."""
    return {
        "ratio": _finite(comparison.ratio),
        "bootstrap": _finite(comparison.bootstrap),
        "verdict": comparison.verdict,
        "minimum_effect": MINIMUM_EFFECT,
    }


def _joules(subject: Trial, make: Callable[[Model], Open], inferences: int) -> tuple[float | None, ...] | None:
    """One model after the other, each for a second: the counter is too slow for turns."""
    card = gpu() if device(str(subject.described["onnxruntime_provider"])) != "cpu" else None
    if card is None:
        return None
    found = [card.joules_per_run(make(model)()) for model in subject.models]
    return tuple(None if each is None else each / inferences for each in found)


def _finite(interval: Interval) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in asdict(interval).items()}


def _nanoseconds(times: Times) -> list[int]:
    return [round(1e9 * each) for each in times.tolist()]
