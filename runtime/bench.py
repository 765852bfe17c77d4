"""The latency of a model, alone or against another one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.environment import environment, resident_bytes
from runtime.errors import SessionError
from runtime.feeds import batch_size, random_feeds
from runtime.measure import Plan, Progress, Samples, measure
from runtime.session import Array, Session, open_session
from runtime.settings import Settings
from runtime.stats import Comparison, Interval, Summary, Times, compare_times, summarise

SCHEMA = 1


@dataclass(frozen=True)
class BenchResult:
    """A measurement: the samples, and all that can be said from them.

    Attributes:
        settings: what was asked for, with the names of the models and the shapes of their inputs.
        environment: what it ran on.
        samples: raw latencies in seconds.
        candidate: summary of the model.
        reference: summary of the model it was measured against, if any.
        comparison: of the two; its ratio is reference / candidate, the speedup of the candidate.
        resident_bytes: memory of the whole process after the measurement.
    """

    settings: dict[str, Any]
    environment: dict[str, Any]
    samples: Samples
    candidate: Summary
    reference: Summary | None
    comparison: Comparison | None
    resident_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: an interval that too few rounds leave open ends in None."""
        samples, comparison = self.samples, self.comparison
        return {
            "schema": SCHEMA,
            "environment": self.environment,
            "settings": self.settings,
            "samples": {
                "unit": "ns",
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
                "resident_bytes": self.resident_bytes,
            },
            "comparison": comparison
            and {
                "ratio": _finite(comparison.ratio),
                "bootstrap": _finite(comparison.bootstrap),
                "verdict": comparison.verdict,
            },
        }

    def to_json(self) -> str:
        """``to_dict`` as text."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":")) + "\n"


def bench(
    model: Path | bytes,
    against: Path | bytes | None = None,
    *,
    settings: Settings | None = None,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    plan: Plan | None = None,
    progress: Progress | None = None,
) -> BenchResult:
    """Latency of one inference of ``model``, inputs and outputs resident on the device.

    With ``against`` both are timed in turns and compared. The ratio is the speedup of ``model``, which is
    time of ``against`` / time of ``model``: above 1 ``model`` is the faster one.

    Args:
        model: the candidate.
        against: the reference; None to time the candidate alone.
        settings: how both are run.
        batch: None for the batch size that the model is fixed to, or 1.
        dims: sizes of other dynamic axes, see ``random_feeds``.
        plan: when to stop; its seed decides the inputs, too.
        progress: told how it goes.

    Raises:
        SessionError: a model cannot be opened or run, is fixed to another batch size, or takes other inputs
            than the one it is compared with.
    """
    settings, plan = settings or Settings(), plan or Plan()
    session = open_session(model, settings)
    other = None if against is None else open_session(against, settings)
    if other and {value.name for value in other.inputs} != {value.name for value in session.inputs}:
        raise SessionError(f"{session.name} and {other.name} have different inputs: compare two versions of one model")
    feeds = _feeds(session, batch, dims, plan.seed)
    around = environment()  # before the measurement, which is a load itself
    described, name, other_name = session.describe(), session.name, other and other.name
    del session, other  # the rounds open their own
    samples = measure(
        lambda: open_session(model, settings).bound(feeds),
        None if against is None else lambda: open_session(against, settings).bound(feeds),
        plan,
        progress=progress,
    )
    times = samples.reference
    return BenchResult(
        settings={
            "candidate": name,
            "reference": other_name,
            **described,
            "inputs": {name: list(array.shape) for name, array in feeds.items()},
            "plan": asdict(plan),
        },
        environment=around,
        samples=samples,
        candidate=summarise(samples.candidate),
        reference=None if times is None else summarise(times),
        comparison=None if times is None else compare_times(times, samples.candidate, samples.round),
        resident_bytes=resident_bytes(),
    )


def _finite(interval: Interval) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in asdict(interval).items()}


def _feeds(session: Session, batch: int | None, dims: Mapping[str, int] | None, seed: int) -> dict[str, Array]:
    fixed = batch_size(session)
    if batch is not None and fixed is not None and batch != fixed:
        raise SessionError(
            f"{session.name} is fixed to batch {fixed} and cannot run {batch}: "
            f"ask for {fixed}, or export it with a dynamic batch"
        )
    return random_feeds(session, batch=batch or 1, seed=seed, dims=dims)


def _nanoseconds(times: Times) -> list[int]:
    return [round(1e9 * each) for each in times.tolist()]
