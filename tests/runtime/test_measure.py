from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from runtime.errors import SessionError
from runtime.measure import Plan, measure
from runtime.stats import compare_times

SLOTS = 4096
QUICK = Plan(rounds=8, min_time=0, min_pairs=80, max_time=0.4, warmup_time=0, warmup_runs=1)


@dataclass
class Machine:
    """A simulated machine with its own clock.

    Run number i takes its model's time * ``noise[i]`` * the luck of its session, which lasts.
    """

    noise: np.ndarray
    luck: np.ndarray = field(default_factory=lambda: np.ones(1))
    now: float = 0.0
    opened: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def model(self, name: str, seconds: float):
        def open_session():
            luck = self.luck[len(self.opened) % len(self.luck)]
            self.opened.append(name)

            def run() -> None:
                self.now += seconds * luck * self.noise[len(self.runs) % len(self.noise)]
                self.runs.append(name)

            return run

        return open_session

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


def race(noise, candidate, reference, seed, plan=QUICK):
    """Every session has its luck, and the first of a round is the luckier one."""
    generator = np.random.default_rng(seed)
    luck = np.exp(generator.normal(0, 0.01, 64)) * np.tile([0.99, 1.0], 32)
    machine = Machine(noise(generator), luck)
    models = machine.model("a", candidate), machine.model("b", reference)
    return measure(*models, replace(plan, seed=seed), clock=machine.clock)


def compared(samples):
    return compare_times(samples.reference, samples.candidate, samples.round)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("speedup", [1.0, 1.3])
def test_the_interval_holds_the_truth_as_often_as_it_says(noise, speedup):
    trials = 100
    covered = 0
    for seed in range(trials):
        ratio = compared(race(noise, 1e-3, speedup * 1e-3, seed)).ratio
        covered += ratio.low <= speedup <= ratio.high
    assert covered / trials >= 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5


@pytest.mark.parametrize("noise", NOISES)
def test_a_model_hardly_ever_beats_itself(noise):
    verdicts = [compared(race(noise, 1e-3, 1e-3, seed)).verdict for seed in range(1000, 1100)]
    assert 1 - verdicts.count("same") / len(verdicts) <= 0.05 + 3 * (0.95 * 0.05 / 100) ** 0.5


@pytest.mark.parametrize("noise", NOISES)
def test_a_clear_winner_is_found_from_both_sides(noise):
    patient = replace(QUICK, max_time=2)
    for seed in range(10):
        assert compared(race(noise, 1e-3, 2e-3, seed, patient)).verdict == "faster"
        assert compared(race(noise, 2e-3, 1e-3, seed, patient)).verdict == "slower"


def measured(plan, seconds=1e-3, rival=1e-3, noise=None):
    machine = Machine(np.ones(1) if noise is None else noise)
    reference = None if rival is None else machine.model("b", rival)
    return measure(machine.model("a", seconds), reference, plan, clock=machine.clock), machine


def test_both_models_run_in_every_pair_in_an_order_left_to_chance():
    samples, machine = measured(Plan(min_time=3, max_time=3, rounds=1), rival=2e-3)
    warm = len(machine.runs) - 2 * len(samples.candidate)
    pairs = np.array(machine.runs[warm:]).reshape(-1, 2)
    assert (np.sort(pairs, axis=1) == ["a", "b"]).all()
    assert ((pairs[:, 0] == "a") == samples.candidate_first).all()
    assert 0.4 < samples.candidate_first.mean() < 0.6
    np.testing.assert_allclose(samples.candidate, 1e-3)
    np.testing.assert_allclose(samples.reference, 2e-3)


def test_every_round_has_fresh_sessions_and_both_models_open_first_equally_often():
    samples, machine = measured(Plan(rounds=10))
    opened = np.array(machine.opened).reshape(-1, 2)
    assert (np.unique(samples.round) == np.arange(10)).all() and len(opened) == 10
    assert (np.sort(opened, axis=1) == ["a", "b"]).all()
    assert (opened[:, 0] == "a").sum() == 5
    assert np.bincount(samples.round).min() >= 10


def test_the_seed_decides_the_order():
    orders = [measured(Plan(seed=seed))[0].candidate_first.tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("rival", [1e-3, None])
def test_minimum_time_and_minimum_count_are_both_kept(rival):
    samples, _ = measured(Plan(min_time=1, min_pairs=10), rival=rival)
    total = samples.candidate.sum() + (0 if rival is None else samples.reference.sum())
    assert total >= 1 - 1e-6 and samples.stopped_by == "precision"
    samples, _ = measured(Plan(min_time=0, min_pairs=500), rival=rival)
    assert len(samples.candidate) == 500


def test_a_wide_interval_goes_on_until_time_is_up():
    noise = np.exp(np.random.default_rng(0).normal(0, 1, SLOTS))
    samples, machine = measured(Plan(min_time=0.1, min_pairs=10, max_time=9), noise=noise)
    assert samples.stopped_by == "max_time"
    assert samples.round.max() > 10
    assert 9 <= machine.now < 9.5


def test_a_model_slower_than_all_limits_is_still_measured_once():
    samples, _ = measured(Plan(min_time=1, max_time=2), seconds=60)
    assert len(samples.candidate) == 1 and samples.stopped_by == "max_time"


def test_warm_up_lasts_long_enough_and_not_for_ever():
    def warm_runs(seconds, **plan):
        plan = Plan(**{"rounds": 1, "min_time": 0, "min_pairs": 1, "max_time": 1e9} | plan)
        samples, machine = measured(plan, seconds=seconds, rival=None)
        return len(machine.runs) - len(samples.candidate)

    assert warm_runs(0.1) == 10
    assert warm_runs(1e-3) == pytest.approx(200, abs=1)
    assert warm_runs(1.0) == 5
    assert warm_runs(100.0) == 2
    assert warm_runs(0.1, rounds=4) == 10 + 3 * 2
    assert warm_runs(1e-3, rounds=4, min_time=4) == pytest.approx(4 * 200, abs=4)
    assert warm_runs(1e-3, rounds=4, min_time=0.4) == pytest.approx(200 + 3 * 100, abs=4)


def test_progress_is_told_now_and_then():
    machine, told = Machine(np.ones(1)), []
    samples = measure(
        machine.model("a", 1e-3),
        machine.model("b", 1e-3),
        Plan(warmup_time=0),
        progress=lambda *figures: told.append(figures),
        clock=machine.clock,
    )
    seconds, pairs, ratio = told[-1]
    assert 25 <= len(told) <= 35
    assert 0 < len(samples.candidate) - pairs < 100 and seconds <= machine.now
    assert told[0][2] is None and ratio.estimate == pytest.approx(1)


def test_limits_that_contradict_each_other_are_refused():
    for wrong in ({"min_time": 5, "max_time": 1}, {"min_pairs": 0}, {"min_time": -1}, {"rounds": 0}):
        with pytest.raises(SessionError):
            Plan(**wrong)
