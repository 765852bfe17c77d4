from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from runtime.errors import SessionError
from runtime.measure import Plan, measure
from runtime.stats import compare_times, median_ratio

SLOTS = 4096
QUICK = Plan(min_time=0, min_pairs=40, max_time=0.4, warmup_time=0, warmup_runs=1)


@dataclass
class Machine:
    """A simulated machine: run number i takes its model's time times ``noise[i]``."""

    noise: np.ndarray
    now: float = 0.0
    runs: list[str] = field(default_factory=list)

    def model(self, name: str, seconds: float):
        def run() -> None:
            self.now += seconds * self.noise[len(self.runs) % len(self.noise)]
            self.runs.append(name)

        return run

    def clock(self) -> float:
        return self.now


def quiet(rng):
    return np.exp(rng.normal(0, 0.02, SLOTS))


def drift(rng):
    return quiet(rng) * np.linspace(1, 3, SLOTS)


def correlated(rng):
    steps = rng.normal(0, 0.05, SLOTS)
    for i in range(1, SLOTS):
        steps[i] += 0.95 * steps[i - 1]
    return np.exp(steps)


def spikes(rng):
    noise = quiet(rng)
    for start in rng.integers(0, SLOTS, SLOTS // 20):
        noise[start : start + rng.integers(1, 30)] += rng.exponential(3)
    return noise


def clock_steps(rng):
    return quiet(rng) * (1 + 0.4 * (np.cumsum(rng.random(SLOTS) < 0.02) % 2))


def periodic(rng):
    return quiet(rng) * (1.3 + 0.3 * np.sin(np.arange(SLOTS) * np.pi))  # every second run, an A/B/A/B trap


NOISES = [quiet, drift, correlated, spikes, clock_steps, periodic]


def race(noise, candidate, reference, seed):
    machine = Machine(noise(np.random.default_rng(seed)))
    plan = Plan(**{**QUICK.__dict__, "seed": seed})
    found = measure(machine.model("a", candidate), machine.model("b", reference), plan, clock=machine.clock)
    return found


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("speedup", [1.0, 1.3])
def test_the_interval_holds_the_truth_as_often_as_it_says(noise, speedup):
    trials = 300
    covered = 0
    for seed in range(trials):
        samples = race(noise, 1e-3, speedup * 1e-3, seed)
        ratio = median_ratio(samples.reference, samples.candidate)
        covered += ratio.low <= speedup * (1 + 1e-9) and speedup <= ratio.high * (1 + 1e-9)
    assert covered / trials >= 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5


@pytest.mark.parametrize("noise", NOISES)
def test_a_model_hardly_ever_beats_itself(noise):
    verdicts = []
    for seed in range(1000, 1200):
        samples = race(noise, 1e-3, 1e-3, seed)
        verdicts.append(compare_times(samples.reference, samples.candidate).verdict)
    assert 1 - verdicts.count("same") / len(verdicts) <= 0.05 + 3 * (0.95 * 0.05 / 200) ** 0.5


@pytest.mark.parametrize("noise", NOISES)
def test_a_clear_winner_is_found_from_both_sides(noise):
    for seed in range(10):
        ahead, behind = race(noise, 1e-3, 2e-3, seed), race(noise, 2e-3, 1e-3, seed)
        assert compare_times(ahead.reference, ahead.candidate).verdict == "faster"
        assert compare_times(behind.reference, behind.candidate).verdict == "slower"


def test_both_models_run_in_every_pair_in_an_order_left_to_chance():
    machine = Machine(np.ones(1))
    plan = Plan(min_time=1, min_pairs=200, max_time=5, warmup_time=0.05, warmup_runs=3)
    samples = measure(machine.model("a", 1e-3), machine.model("b", 2e-3), plan, clock=machine.clock)
    warm = sum(1 for _ in machine.runs) - 2 * len(samples.candidate)
    pairs = np.array(machine.runs[warm:]).reshape(-1, 2)
    assert (np.sort(pairs, axis=1) == ["a", "b"]).all()
    assert ((pairs[:, 0] == "a") == samples.candidate_first).all()
    assert 0.4 < samples.candidate_first.mean() < 0.6
    np.testing.assert_allclose(samples.candidate, 1e-3)
    np.testing.assert_allclose(samples.reference, 2e-3)


def test_the_seed_decides_the_order():
    orders = [
        measure(m.model("a", 1), m.model("b", 1), Plan(max_time=60, seed=seed), clock=m.clock).candidate_first
        for seed in (1, 1, 2)
        for m in [Machine(np.ones(1))]
    ]
    assert orders[0].tolist() == orders[1].tolist() != orders[2].tolist()


def measured(plan, seconds=1e-3, noise=None, paired=True):
    machine = Machine(np.ones(1) if noise is None else noise)
    rival = machine.model("b", seconds) if paired else None
    samples = measure(machine.model("a", seconds), rival, plan, clock=machine.clock)
    return samples, machine


def test_both_minimum_time_and_minimum_count_are_kept():
    for paired in (True, False):
        samples, _ = measured(Plan(min_time=1, min_pairs=10), paired=paired)
        assert samples.candidate.sum() * (1 + paired) >= 1 - 1e-6 and samples.stopped_by == "precision"
        samples, _ = measured(Plan(min_time=0, min_pairs=500), paired=paired)
        assert len(samples.candidate) == 500


def test_a_wide_interval_goes_on_until_time_is_up():
    noise = np.exp(np.random.default_rng(0).normal(0, 1, SLOTS))
    samples, _ = measured(Plan(min_time=0.1, min_pairs=10, max_time=2), noise=noise)
    assert samples.stopped_by == "max_time"
    assert 2 <= samples.candidate.sum() + samples.reference.sum() < 2.1


def test_a_model_slower_than_all_limits_is_still_measured_once():
    samples, machine = measured(Plan(min_time=1, max_time=2), seconds=60)
    assert len(samples.candidate) == 1 and samples.stopped_by == "max_time"
    assert machine.runs.count("a") == 2


def test_warm_up_lasts_long_enough_and_not_for_ever():
    def warm_runs(seconds):
        samples, machine = measured(Plan(min_time=0, min_pairs=1, max_time=0), seconds=seconds, paired=False)
        return len(machine.runs) - len(samples.candidate)

    assert warm_runs(0.1) == 10
    assert warm_runs(1e-3) == pytest.approx(200, abs=1)
    assert warm_runs(1.0) == 5
    assert warm_runs(100.0) == 1


def test_progress_is_told_now_and_then_and_at_the_end():
    machine = Machine(np.ones(1))
    told = []
    samples = measure(
        machine.model("a", 1e-3),
        machine.model("b", 1e-3),
        Plan(min_time=1, min_pairs=10),
        progress=lambda *figures: told.append(figures),
        clock=machine.clock,
    )
    seconds, pairs, ratio = told[-1]
    assert 8 <= len(told) <= 12
    assert pairs == len(samples.candidate) and seconds >= 1 and ratio.estimate == pytest.approx(1)


def test_limits_that_contradict_each_other_are_refused():
    for wrong in ({"min_time": 5, "max_time": 1}, {"min_pairs": 0}, {"min_time": -1}):
        with pytest.raises(SessionError):
            Plan(**wrong)
