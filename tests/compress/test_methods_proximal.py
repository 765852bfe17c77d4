"""Given strengths, steered strengths, and healing: what the proximal methods share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy_training import CHANNELS, STEPS, Training, plan, same

from compress.errors import UserError
from compress.methods.steering import GENTLE, Steering, correct, effort, start
from compress.penalties import L1, MCP, PENALTIES, Penalty, parse

ON_SCALES = ["proximal-slimming", "proximal-gradient"]
PROXIMAL = [*ON_SCALES, "group-slimming"]
STRONG = {"proximal-slimming": 1.0, "proximal-gradient": 0.1, "group-slimming": 0.01}  # some zeros in 60 steps
SPREAD = torch.linspace(0.05, 1.2, CHANNELS).view(4, 6).T.flatten()  # small and large in both layers


@pytest.fixture(params=PROXIMAL)
def method(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


# ---- a given strength -----------------------------------------------------------------------------------


def test_a_given_strength_is_the_authors_algorithm_to_the_end() -> None:
    training = Training("proximal-slimming", plan(strength=1.0))
    assert training.method.scales.gamma().unique().tolist() == [0.5]
    assert training.method.xi.min() >= 0.47
    assert training.method.xi.max() <= 0.53
    training.advance(STEPS)
    dead = training.method.xi == 0
    before = training.method.scales.gamma()
    assert 0 < dead.sum() < CHANNELS
    assert (before[dead] != 0).any(), "small, and not yet exact zeros"
    assert training.method.finish()
    after = training.method.scales.gamma()
    assert torch.equal(training.mask(), dead)
    assert (after[dead] == 0).all()
    assert (training.method.scales.shift()[dead] == 0).all()
    assert torch.equal(after[~dead], before[~dead])
    assert training.method.reached_by() == ""


def test_shifts_follow_their_scales_to_zero_in_proximal_gradient() -> None:
    training = Training("proximal-gradient", plan(strength=0.1))
    scales = training.method.scales
    scales.write(SPREAD)
    training.advance(STEPS)
    zero = scales.gamma() == 0
    assert 0 < zero.sum() < CHANNELS
    assert (scales.shift()[zero] == 0).float().mean() > 0.5
    assert (scales.shift()[~zero] != 0).all()


def test_a_given_strength_ends_in_the_zeros_it_announced(method: str) -> None:
    training = Training(method, plan(strength=STRONG[method]))
    training.method.units.scale(SPREAD)
    training.advance(STEPS)
    announced = training.mask()
    assert 0 < announced.sum() < CHANNELS
    training.method.finish()
    assert torch.equal(training.mask(), announced)


@pytest.mark.parametrize("name", [*PROXIMAL, "network-slimming"])
def test_a_given_strength_warms_up(name: str) -> None:
    asked: list[float] = []
    training = Training(
        name, plan(penalty=lambda strength: asked.append(strength) or L1(strength), strength=0.01, warmup=0.5)
    )
    asked.clear()
    training.advance(STEPS)
    assert asked == pytest.approx([0.01 * min(1, step / 30) for step in range(1, STEPS + 1)])


def test_no_strength_empties_a_layer(method: str) -> None:
    training = Training(method, plan(strength=50.0))
    training.advance(STEPS)
    assert training.mask().sum() >= CHANNELS - 2
    training.method.finish()
    assert [int((~mask).sum()) for mask in training.method.zeros().values()] == [1, 1]


@pytest.mark.parametrize("method", ON_SCALES)
def test_a_checkpoint_keeps_its_scales(method: str) -> None:
    training = Training(method, plan(fresh=False), zeros_given=2)
    expected = torch.tensor([1.0] * 8 + [0.0] * 2 + [1.0] * 14)
    assert torch.equal(training.method.scales.gamma(), expected)
    assert torch.equal(training.method.sparse, expected)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("proximal-slimming", 0.5 * (1 / 0.1 + 100)),
        ("proximal-gradient", 0.5 / 0.1),
        ("group-slimming", 0.5 / (0.1 / (1 - 0.9))),
    ],
)
def test_the_penalty_is_checked_against_the_longest_step_really_taken(name: str, limit: float) -> None:
    warmed_up = {"penalty": parse("mcp:edge=0.5"), "rate": lambda step: 0.1 if step == 7 else 0.001}
    Training(name, plan(strength=0.99 * limit, **warmed_up))
    with pytest.raises(UserError, match=f"below {limit:.3g}"):
        Training(name, plan(strength=1.01 * limit, **warmed_up))


@pytest.mark.parametrize("penalty", ["mcp:edge=0", "scad:a=1", "lp:p=1", "tl1:a=0", "log-sum:eps=0"])
@pytest.mark.parametrize("strength", [None, 0.1])
def test_a_shape_outside_its_domain_is_refused(method: str, penalty: str, strength: float | None) -> None:
    with pytest.raises(UserError, match=r"must (be|lie)"):
        Training(method, plan(penalty=parse(penalty), strength=strength))


# ---- a target -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [*PENALTIES, "mcp:edge=0.4", "lp:p=1/4", "tl1:a=0.1"])
def test_every_penalty_reaches_the_target_by_its_prox(method: str, penalty: str) -> None:
    training = Training(method, plan(penalty=parse(penalty)))
    training.advance(STEPS)
    assert not training.method.finish()
    assert training.method.reached_by() == "prox"
    assert training.mask().sum() == CHANNELS // 2


def test_healing_holds_zeros_and_their_momentum_in_every_step(method: str) -> None:
    training = Training(method, plan())
    while training.method.strength > 0:
        training.advance(1)
    assert training.step <= 0.6 * STEPS
    mask = training.mask()
    assert mask.sum() == CHANNELS // 2
    while training.step < STEPS:
        training.advance(1)
        assert torch.equal(training.mask(), mask)
        for layer, part in zip(("bn1", "bn2"), training.method.zeros().values(), strict=True):
            for parameter in training.model.get_submodule(layer).parameters():
                momentum = training.optimizer.state[parameter].get("momentum_buffer")
                assert (parameter[part] == 0).all()
                assert momentum is None or (momentum[part] == 0).all()
                assert momentum is None or (momentum[~part] != 0).any()
    before = training.state()["model"]
    assert not training.method.finish()
    assert same(before, training.state()["model"])
    assert training.method.reached_by() == "prox"


def test_too_few_steps_are_made_up_for_by_the_threshold(method: str) -> None:
    training = Training(method, plan(steps=1000))
    training.advance(20)
    assert training.mask().sum() == 0
    training.method.finish()
    assert training.mask().sum() == CHANNELS // 2
    assert training.method.reached_by() == "threshold"


# ---- steering -------------------------------------------------------------------------------------------


def arrival(resistance: float, noise: float, penalty: Any = L1, distance: float = 1.0, looks: int = 100) -> float:
    """Fraction of the plan after which a simulated scale, moved by the prox and by the loss, is at zero."""
    unit: Penalty = penalty(1.0)
    planned, travelled, v = 1.0, 0.0, torch.tensor([distance], dtype=torch.float64)
    interval = planned / looks
    generator = torch.Generator().manual_seed(0)
    state = start(effort(unit, distance), planned)
    while v > 0 and travelled < 3 * planned:
        against = resistance * (1 + noise * torch.randn((), generator=generator).item())
        v = penalty(state.strength).prox(v + against * interval, interval)
        travelled += interval
        following = correct(state, effort(unit, v.item()), interval, max(planned - travelled, interval))
        assert state.strength / GENTLE <= following.strength * 1.0001
        assert following.strength <= state.strength * GENTLE * 1.0001
        state = following
    return travelled / planned


@pytest.mark.parametrize("resistance", [0.0, 0.5, 0.95, 3.0, -0.2])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_steering_arrives_in_time_whatever_the_loss_does(resistance: float, noise: float) -> None:
    assert 0.75 <= arrival(resistance, noise) <= 1.1


@pytest.mark.parametrize("penalty", [*PENALTIES, "mcp:edge=0.3", "scad:edge=0.1", "lp:p=1/4", "log-sum:eps=1"])
@pytest.mark.parametrize("resistance", [0.0, 0.3, -0.1])
def test_steering_arrives_in_time_with_every_penalty(penalty: str, resistance: float) -> None:
    assert 0.5 <= arrival(resistance, noise=0.3, penalty=parse(penalty), distance=0.5) <= 1.1


@pytest.mark.parametrize("penalty", [name for name in PENALTIES if name != "l0"])
def test_effort_is_about_the_drift_that_it_takes(penalty: str) -> None:
    unit, step, v, taken = parse(penalty)(1.0), 1e-3, torch.tensor([0.5], dtype=torch.float64), 0.0
    while v > 0:
        v, taken = unit.prox(v, step), taken + step
    assert effort(unit, 0.5) == pytest.approx(taken, rel=0.01 if penalty == "l1" else 0.3)
    assert effort(unit, 0.6) > effort(unit, 0.5) > effort(unit, 0.0) == 0


def test_effort_is_finite_where_there_is_no_slope() -> None:
    assert effort(MCP(1.0, edge=0.1), 0.5) == pytest.approx(0.5**2 / 0.05)


def test_steering_keeps_a_strength_that_works() -> None:
    state = Steering(strength=2.0, distance=1.0)
    assert correct(state, distance=0.8, travelled=0.1, ahead=0.4).strength == pytest.approx(2.0)
