from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest

from runtime.stats import Interval, compare_times, median_ratio, percentiles, sign_test, summarise, verdict

TIMES = st.integers(1, 60).flatmap(lambda n: arrays(np.float64, n, elements=st.floats(1e-6, 10)))
PAIRS = st.integers(1, 60).flatmap(lambda n: arrays(np.float64, (2, n), elements=st.floats(1e-6, 10)))


@given(PAIRS, st.floats(1e-3, 1e3))
def test_a_common_unit_changes_nothing_and_a_slower_reference_is_a_factor(pairs, factor):
    reference, candidate = pairs
    ratio = median_ratio(reference, candidate)
    same = median_ratio(factor * reference, factor * candidate)
    scaled = median_ratio(factor * reference, candidate)
    for name in ("estimate", "low", "high"):
        value = getattr(ratio, name)
        assert getattr(same, name) == pytest.approx(value)
        assert getattr(scaled, name) == pytest.approx(factor * value)


@given(PAIRS)
def test_changing_places_inverts_the_ratio_and_the_verdict(pairs):
    forth, back = compare_times(pairs[0], pairs[1]), compare_times(pairs[1], pairs[0])
    assert forth.ratio.estimate == pytest.approx(1 / back.ratio.estimate)
    assert forth.ratio.high == pytest.approx(1 / back.ratio.low if back.ratio.low else math.inf)
    if abs(math.log(forth.ratio.estimate)) > 0.011:
        assert (forth.verdict, back.verdict) in {("faster", "slower"), ("slower", "faster"), ("same", "same")}


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_interval_holds_its_estimate_and_forgets_the_order(pairs, random):
    ratio = median_ratio(*pairs)
    assert ratio.low <= ratio.estimate * (1 + 1e-12) and ratio.estimate <= ratio.high * (1 + 1e-12)
    order = list(range(pairs.shape[1]))
    random.shuffle(order)
    assert median_ratio(*pairs[:, order]) == ratio


def test_too_few_pairs_leave_the_interval_open():
    ones = np.ones(20)
    assert [math.isinf(median_ratio(ones[:n] * 2, ones[:n]).high) for n in (1, 5, 6, 20)] == [
        True,
        True,
        False,
        False,
    ]
    assert compare_times(ones[:5] * 2, ones[:5]).verdict == "same"
    assert compare_times(ones[:6] * 2, ones[:6]).verdict == "faster"


def test_the_interval_narrows_as_pairs_come_in():
    noise = np.exp(np.random.default_rng(0).normal(0, 0.1, (2, 10_000)))
    widths = [median_ratio(*noise[:, :n]).half_width for n in (30, 300, 3000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[2] < widths[0] / 6


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


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_sign_test_is_the_exact_binomial_test(one, other):
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert sign_test(one, other) == pytest.approx(expected, rel=1e-9, abs=1e-15)
