"""From samples to statements. Pure functions; times in seconds.

Why no bootstrap over single pairs: noise drifts and bursts, a session keeps the speed of its place in memory,
so pairs are not independent. Rounds have fresh sessions, and chance decides who opens and who runs first; so
what slows down moments and places, whichever model is in them, moves a round's median log ratio up or down
with equal probability. Wilcoxon's interval asks for that symmetry and nothing else: it is exact for any
number of rounds, and decides the verdict. A bootstrap over rounds stands beside it, as readers expect one;
with ten rounds it is a little too narrow.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Verdict = Literal["faster", "slower", "same"]
Stability = Literal["stable", "noisy", "unusable"]

LEVEL = 0.95
MINIMUM_EFFECT = 0.01
RESAMPLES = 2000
NOISY, UNUSABLE = 0.10, 0.25  # spread beyond which torch.utils.benchmark warns, mildly and loudly
FEWEST = 20  # runs that show how they spread: as many as their median needs


@dataclass(frozen=True)
class Interval:
    """An estimate with a confidence interval; (0, inf) where there are too few rounds for the level."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def half_width(self) -> float:
        """Half the width, as a fraction of the estimate."""
        return (self.high - self.low) / (2 * self.estimate)


@dataclass(frozen=True)
class Summary:
    """One model's latency.

    Attributes:
        runs: number of samples.
        median: in seconds, as are ``mean``, ``minimum`` and ``percentiles``.
        percentiles: those that the number of runs supports, such as ``{"p90": 0.002}``.
        spread: interquartile range / median.
        stability: ``stable``, ``noisy`` (spread over 10 %, or too few runs to tell) or ``unusable`` (over 25 %).
        reason: why it is not stable, in words; empty if it is.
    """

    runs: int
    median: float
    mean: float
    minimum: float
    percentiles: dict[str, float]
    spread: float
    stability: Stability
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """Candidate against reference.

    Attributes:
        ratio: reference time / candidate time, see ``median_ratio``: above 1 the candidate is faster.
        bootstrap: the same ratio with an interval from resampled rounds, see ``bootstrap_ratio``.
        verdict: about the candidate; ``same`` means that no difference worth the name was shown.
    """

    ratio: Interval
    bootstrap: Interval
    verdict: Verdict


def summarise(times: Times, rounds: NDArray[np.int64] | None = None) -> Summary:
    """Describe latencies [n], n >= 1, taken in ``rounds`` [n]. No sample is ever dropped."""
    spread = _spread(times)
    noisy = spread > NOISY or len(times) < FEWEST
    stability: Stability = "unusable" if spread > UNUSABLE else "noisy" if noisy else "stable"
    return Summary(
        runs=len(times),
        median=float(np.median(times)),
        mean=float(times.mean()),
        minimum=float(times.min()),
        percentiles=percentiles(times),
        spread=spread,
        stability=stability,
        reason="" if stability == "stable" else _reason(times, np.zeros(len(times)) if rounds is None else rounds),
    )


def _spread(times: Times) -> float:
    quarter, median, three_quarters = np.quantile(times, (0.25, 0.5, 0.75))
    return float((three_quarters - quarter) / median)


def _reason(times: Times, rounds: NDArray[Any]) -> str:
    """Whether there are too few runs, or the speed changes from round to round, or within one."""
    if _spread(times) <= NOISY:
        return f"too few runs to tell how much it varies: {len(times)}"
    each = [times[rounds == number] for number in np.unique(rounds)]
    between, within = _spread(np.array([np.median(part) for part in each])), np.median([_spread(part) for part in each])
    cause = "from round to round: clock or load change" if between > within else "from run to run: the cores are shared"
    return f"the middle half of its runs spans {_spread(times):.0%} of the median, mostly {cause}"


def percentiles(times: Times) -> dict[str, float]:
    """p50, p90, p95, p99 of ``times``, where at least ten samples lie beyond: n >= 10 / (1 - p)."""
    return {
        f"p{percent}": float(np.percentile(times, percent))
        for percent in (50, 90, 95, 99)
        if len(times) * (100 - percent) >= 1000
    }


def compare_times(reference: Times, candidate: Times, rounds: NDArray[np.int64]) -> Comparison:
    """Compare paired latencies [n] taken in ``rounds`` [n], n >= 1."""
    ratio = median_ratio(reference, candidate, rounds)
    return Comparison(ratio, bootstrap_ratio(reference, candidate, rounds), verdict(ratio))


def median_ratio(reference: Times, candidate: Times, rounds: NDArray[np.int64], level: float = LEVEL) -> Interval:
    """Pseudo-median over rounds of the median over pairs of reference / candidate.

    Estimate and interval are Hodges and Lehmann's (1963), from Wilcoxon's signed ranks: the median and two
    order statistics of the pairwise means (Walsh averages) of the rounds' log ratios.
    """
    medians = _round_medians(reference, candidate, rounds)
    one, other = np.triu_indices(len(medians))
    walsh = np.sort((medians[one] + medians[other]) / 2)
    rank = int(np.searchsorted(_signed_rank_cdf(len(medians)), (1 - level) / 2, side="right"))
    low, high = (walsh[rank - 1], walsh[-rank]) if rank else (-math.inf, math.inf)
    return Interval(math.exp(np.median(walsh)), math.exp(low), math.exp(high), level)


def bootstrap_ratio(
    reference: Times, candidate: Times, rounds: NDArray[np.int64], level: float = LEVEL, seed: int = 0
) -> Interval:
    """Median over rounds of the median over pairs of reference / candidate, resampling rounds (percentiles).

    Efron (1979); rounds are the clusters within which samples depend on each other.
    """
    medians = _round_medians(reference, candidate, rounds)
    draws = np.random.default_rng(seed).integers(len(medians), size=(RESAMPLES, len(medians)))
    low, high = np.quantile(np.median(medians[draws], axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(math.exp(np.median(medians)), math.exp(low), math.exp(high), level)


def _round_medians(reference: Times, candidate: Times, rounds: NDArray[np.int64]) -> Times:
    log_ratio = np.log(reference) - np.log(candidate)
    return np.array([np.median(log_ratio[rounds == number]) for number in np.unique(rounds)])


def verdict(ratio: Interval, minimum: float = MINIMUM_EFFECT) -> Verdict:
    """``faster`` or ``slower`` if the interval excludes 1 and the estimate is 1 + ``minimum`` times away."""
    if ratio.low > 1 and ratio.estimate >= 1 + minimum:
        return "faster"
    if ratio.high < 1 and ratio.estimate <= 1 / (1 + minimum):
        return "slower"
    return "same"


def sign_test(one: int, other: int) -> float:
    """Two-sided exact p-value of ``one`` heads and ``other`` tails from a fair coin."""
    n = one + other
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    chances = np.exp(log_factorial[n] - log_factorial - log_factorial[::-1] - n * math.log(2))
    return min(1.0, 2 * float(chances[: min(one, other) + 1].sum()))


@functools.cache
def _signed_rank_cdf(n: int) -> NDArray[np.float64]:
    """P(T <= t), t = 0..n(n+1)/2, for the sum T of those of the ranks 1..n that fair coins choose."""
    chances = np.ones(1)
    for rank in range(1, n + 1):
        chances = np.convolve(chances, [0.5, *[0.0] * (rank - 1), 0.5])
    return np.cumsum(chances)
