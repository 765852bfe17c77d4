from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, bootstrap, wilcoxon

from runtime.stats import (
    Interval,
    bootstrap_ratio,
    compare_times,
    median_ratio,
    percentiles,
    sign_test,
    summarise,
    verdict,
)

TIMES = st.integers(1, 60).flatmap(lambda n: arrays(np.float64, n, elements=st.floats(1e-6, 10)))
PAIRS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=st.floats(1e-6, 10)),
        arrays(np.float64, n, elements=st.floats(1e-6, 10)),
        arrays(np.int64, n, elements=st.integers(0, 9)),
    )
)


@given(PAIRS, st.floats(1e-3, 1e3))
def test_a_common_unit_changes_nothing_and_a_slower_reference_is_a_factor(pairs, factor):
    reference, candidate, rounds = pairs
    ratio = median_ratio(reference, candidate, rounds)
    same = median_ratio(factor * reference, factor * candidate, rounds)
    scaled = median_ratio(factor * reference, candidate, rounds)
    for name in ("estimate", "low", "high"):
        value = getattr(ratio, name)
        assert getattr(same, name) == pytest.approx(value)
        assert getattr(scaled, name) == pytest.approx(factor * value)


@given(PAIRS)
def test_changing_places_inverts_the_ratio_and_the_verdict(pairs):
    one, other, rounds = pairs
    forth, back = compare_times(one, other, rounds), compare_times(other, one, rounds)
    assert forth.ratio.estimate == pytest.approx(1 / back.ratio.estimate)
    assert forth.ratio.high == pytest.approx(1 / back.ratio.low if back.ratio.low else math.inf)
    opposite = {"faster": "slower", "slower": "faster", "same": "same"}
    edges = (forth.ratio.low, forth.ratio.high, forth.ratio.estimate / 1.01, forth.ratio.estimate * 1.01)
    if all(abs(edge - 1) > 1e-9 for edge in edges):
        assert forth.verdict == opposite[back.verdict]


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_interval_holds_its_estimate_and_forgets_the_order(pairs, random):
    ratio = median_ratio(*pairs)
    assert ratio.low <= ratio.estimate * (1 + 1e-12) and ratio.estimate <= ratio.high * (1 + 1e-12)
    order = list(range(len(pairs[0])))
    random.shuffle(order)
    assert median_ratio(*(column[order] for column in pairs)) == ratio


def test_too_few_rounds_leave_the_interval_open():
    ones = np.ones(1000)

    def of(rounds):
        return compare_times(2 * ones, ones, np.arange(1000) % rounds)

    assert [math.isinf(of(rounds).ratio.high) for rounds in (1, 5, 6, 10)] == [True, True, False, False]
    assert (of(5).verdict, of(6).verdict) == ("same", "faster")


def test_the_interval_narrows_as_rounds_come_in_and_not_as_pairs_do():
    def width(rounds, pairs):
        generator = np.random.default_rng(0)
        luck = np.repeat(generator.normal(0, 0.05, rounds), pairs)  # of a round's sessions
        noise = generator.normal(0, 0.01, (2, rounds * pairs))
        times = np.exp(noise[0] + luck), np.exp(noise[1])
        return median_ratio(*times, np.repeat(np.arange(rounds), pairs)).half_width

    assert width(80, 10) < width(10, 10) / 2
    assert width(10, 1000) > width(10, 10) / 2


@pytest.mark.parametrize("rounds", [6, 10, 15])
@pytest.mark.parametrize("spread", [np.random.Generator.standard_normal, np.random.Generator.standard_cauchy])
def test_rounds_of_any_symmetric_noise_are_covered_as_often_as_said(rounds, spread):
    generator, trials = np.random.default_rng(0), 500
    covered = 0
    for _ in range(trials):
        ratio = median_ratio(np.exp(0.01 * spread(generator, rounds)), np.ones(rounds), np.arange(rounds))
        covered += ratio.low <= 1 <= ratio.high
    assert 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5 <= covered / trials < 0.99


def test_the_bootstrap_covers_nearly_as_often_and_agrees_with_scipy():
    generator, trials, rounds = np.random.default_rng(0), 300, 20
    covered = 0
    for _ in range(trials):
        times = np.exp(0.01 * generator.standard_normal(rounds))
        ratio = bootstrap_ratio(times, np.ones(rounds), np.arange(rounds))
        covered += ratio.low <= 1 <= ratio.high
    assert 0.88 <= covered / trials < 0.99
    theirs = bootstrap((np.log(times),), np.median, method="percentile", random_state=0, n_resamples=5000)
    assert math.log(ratio.low) == pytest.approx(theirs.confidence_interval.low, abs=2e-3)
    assert math.log(ratio.high) == pytest.approx(theirs.confidence_interval.high, abs=2e-3)


def test_the_interval_is_wilcoxons():
    generator = np.random.default_rng(0)
    for rounds in (6, 9, 14):
        logs = generator.normal(0.1, 1, rounds)
        ratio = median_ratio(np.exp(logs), np.ones(rounds), np.arange(rounds))
        for inside, edge in ((1, ratio.low), (-1, ratio.high)):
            for step in (-1e-6, 1e-6):
                rejected = wilcoxon(logs - math.log(edge) + step, method="exact").pvalue <= 0.05
                assert rejected == (inside * step > 0)


def test_faster_needs_both_an_effect_and_a_proof():
    cases = {
        (1.20, 1.10, 1.30): "faster",
        (1.005, 1.004, 1.006): "same",
        (1.20, 0.99, 1.40): "same",
        (0.80, 0.70, 0.90): "slower",
        (0.995, 0.994, 0.996): "same",
        (0.80, 0.70, 1.01): "same",
    }
    assert {key: verdict(Interval(*key)) for key in cases} == cases


@given(TIMES)
def test_a_summary_is_in_order_and_drops_nothing(times):
    found = summarise(times)
    assert found.runs == len(times)
    assert found.mean == pytest.approx(times.mean())
    assert found.minimum <= found.median
    assert found.spread >= 0


def test_percentiles_appear_once_there_are_enough_samples():
    needed = {"p50": 20, "p90": 100, "p95": 200, "p99": 1000}
    for name, count in needed.items():
        assert name not in percentiles(np.arange(1, count) * 1.0)
        assert name in percentiles(np.arange(1, count + 1) * 1.0)
    values = list(percentiles(np.random.default_rng(0).random(1000)).values())
    assert values == sorted(values)


def test_stability_is_about_the_bulk_and_not_about_one_spike():
    noise = np.random.default_rng(0).normal(0, 1, 1000)
    steady = 1 + 0.01 * noise
    steady[0] = 1000
    assert summarise(steady).stability == "stable"
    assert summarise(np.exp(0.1 * noise)).stability == "noisy"
    assert summarise(np.exp(0.4 * noise)).stability == "unusable"


def test_a_few_runs_are_never_stable():
    found = summarise(np.ones(19))
    assert (found.median, found.spread, found.stability) == (1, 0, "noisy")
    assert found.reason == "too few runs to tell how much it varies: 19"
    assert summarise(np.ones(20)).stability == "stable"


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_sign_test_is_the_exact_binomial_test(one, other):
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert sign_test(one, other) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_an_unstable_measurement_has_a_reason():
    rng, rounds = np.random.default_rng(0), np.repeat(np.arange(10), 50)
    within = np.exp(rng.normal(0, 0.2, 500))
    between = np.exp(0.3 * np.linspace(-1, 1, 10)[rounds] + rng.normal(0, 0.01, 500))
    assert "from run to run" in summarise(within, rounds).reason
    assert "from round to round" in summarise(between, rounds).reason
    assert summarise(np.exp(rng.normal(0, 0.01, 500)), rounds).reason == ""
    assert "from run to run" in summarise(within).reason
