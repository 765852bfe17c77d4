from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_net import NoNorm, TinyNet
from torch import nn
from torch.nn import functional as F

from compress.errors import UserError
from compress.methods import METHODS, Method, Plan
from compress.methods.proximal_slimming import palm_step
from compress.methods.scales import Scales, floor, strongest, weakest
from compress.methods.steering import GENTLE, Steering, correct, drift, start
from compress.penalties import L1, PENALTIES

STEPS = 60
SLIMMING = [name for name in METHODS if name != "sgd"]


def plan(**changes: Any) -> Plan:
    return replace(Plan(penalty=L1, strength=None, target=0.5, steps=STEPS, rate=lambda step: 0.1), **changes)


@dataclass
class Training:
    """A training on random images, without files."""

    name: str
    plan: Plan
    zeros_given: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = TinyNet()
        with torch.no_grad():
            self.model.bn2.weight[: self.zeros_given] = 0
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        self.method: Method = METHODS.get(self.name)()
        self.method.setup(self.model, self.optimizer, self.plan)
        self.step = 0

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self.step += 1
            generator = torch.Generator().manual_seed(self.step)
            images = torch.randn(16, 1, 8, 8, generator=generator)
            labels = torch.randint(10, (16,), generator=generator)
            self.optimizer.zero_grad()
            logits = self.model(images)
            (F.cross_entropy(logits, labels) + self.method.loss_terms(self.model, logits)).backward()
            self.method.after_backward()
            self.optimizer.step()
            self.method.after_step(0.1)

    def state(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "method": self.method}
        buffer = io.BytesIO()
        torch.save({key: part.state_dict() for key, part in parts.items()}, buffer)
        buffer.seek(0)
        return torch.load(buffer, weights_only=True)

    def restore(self, state: dict[str, Any], step: int) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        self.step = step

    def mask(self) -> torch.Tensor:
        return torch.cat(list(self.method.zeros().values()))


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


# ---- the contract of all methods ------------------------------------------------------------------------


def fine_tuning_given_zeros(name: str) -> Training:
    return Training(name, plan(fresh=False), zeros_given=12)


@pytest.mark.parametrize("name", METHODS.names())
def test_zeros_appear_and_are_exact(name: str) -> None:
    training = fine_tuning_given_zeros(name)
    training.advance(STEPS)
    training.method.finish()
    assert training.mask().sum() == 12
    assert list(training.method.zeros()) == ["bn1", "bn2"]
    for layer, mask in training.method.zeros().items():
        module = training.model.get_submodule(layer)
        assert (module.weight[mask] == 0).all()
        assert (module.bias[mask] == 0).all()
        assert (module.weight[~mask] != 0).all()


@pytest.mark.parametrize("name", METHODS.names())
def test_zeros_hold_in_a_later_fine_tuning(name: str) -> None:
    training = fine_tuning_given_zeros(name)
    training.advance(STEPS)
    training.method.finish()
    before = training.mask()
    tuning = METHODS.get("sgd")()
    tuning.setup(training.model, training.optimizer, plan(fresh=False))
    training.method = tuning
    training.advance(10)
    assert torch.equal(training.mask(), before)
    assert not tuning.finish()


@pytest.mark.parametrize("name", METHODS.names())
@pytest.mark.parametrize("at", [5, STEPS // 2, STEPS - 1])
def test_state_survives_a_checkpoint(name: str, at: int) -> None:
    through, resumed = Training(name, plan(seed=3)), Training(name, plan(seed=4))
    through.advance(at)
    resumed.restore(through.state(), at)
    for training in (through, resumed):
        training.advance(STEPS - at)
        training.method.finish()
    assert same(through.state(), resumed.state())
    assert through.method.reached_by() == resumed.method.reached_by()


@pytest.mark.parametrize("name", METHODS.names())
def test_finish_a_second_time_changes_nothing(name: str) -> None:
    training = Training(name, plan())
    training.advance(STEPS)
    training.method.finish()
    once = training.state()
    training.method.finish()
    assert same(once["model"], training.state()["model"])


@pytest.mark.parametrize("name", SLIMMING)
@pytest.mark.parametrize("target", [0.0, 0.3, 0.5, 0.99])
def test_target_is_met_as_far_as_the_floors_allow(name: str, target: float) -> None:
    training = Training(name, plan(target=target))
    training.advance(STEPS)
    training.method.finish()
    allowed = 24 - floor(8) - floor(16)
    assert training.mask().sum() == min(round(target * 24), allowed)


@pytest.mark.parametrize("name", SLIMMING)
def test_a_model_without_batch_norm_is_refused(name: str) -> None:
    model = NoNorm()
    with pytest.raises(UserError, match="BatchNorm"):
        METHODS.get(name)().setup(model, torch.optim.SGD(model.parameters(), lr=0.1), plan())


def test_dense_training_needs_no_batch_norm() -> None:
    model = NoNorm()
    method = METHODS.get("sgd")()
    method.setup(model, torch.optim.SGD(model.parameters(), lr=0.1), plan())
    method.after_step(0.1)
    assert method.zeros() == {}
    assert not method.finish()


def test_dense_training_does_not_hold_the_zeros_of_a_fresh_model() -> None:
    training = Training("sgd", plan(fresh=True), zeros_given=12)
    assert not training.method.mask.any()


# ---- proximal slimming: the algorithm -------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("beta", [100.0, 0.25])
def test_one_step_is_the_closed_form_of_palm(lr: float, beta: float) -> None:
    torch.manual_seed(1)
    model, strength, alpha = TinyNet().double(), 0.7, 1 / lr
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    method = METHODS.get("proximal-slimming")()
    method.setup(model, optimizer, plan(strength=strength, beta=beta, rate=lambda step: lr))
    for _ in range(3):
        gamma, xi = method.scales.gamma(), method.xi
        images = torch.randn(8, 1, 8, 8, dtype=torch.float64)
        optimizer.zero_grad()
        F.cross_entropy(model(images), torch.arange(8)).backward()
        gradient = torch.cat([model.bn1.weight.grad, model.bn2.weight.grad])
        optimizer.step()
        method.after_step(lr)
        gamma = (alpha * gamma + beta * xi - gradient) / (alpha + beta)
        v = (alpha * xi + beta * gamma) / (alpha + beta)
        xi = torch.sign(v) * torch.clamp(v.abs() - strength / (alpha + beta), min=0)
        assert torch.allclose(method.scales.gamma(), gamma, rtol=0, atol=1e-12)
        assert torch.allclose(method.xi, xi, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("lr", "beta", "strength"), [(0.1, 100.0, 0.0045), (0.01, 100.0, 0.3), (0.1, 0.25, 0.02)])
def test_without_a_gradient_the_pair_drifts_as_predicted(lr: float, beta: float, strength: float) -> None:
    gamma = torch.full((1,), 0.5, dtype=torch.float64)
    xi = gamma.clone()
    path = []
    for _ in range(300):
        gamma, xi = palm_step(gamma, xi, lr, beta, L1(strength))
        path.append((gamma.item(), xi.item()))
    for i in (0, 1):
        assert (path[199][i] - path[299][i]) / 100 == pytest.approx(strength * drift(lr, beta), rel=1e-3)


def test_the_published_run_needs_the_published_number_of_steps() -> None:
    assert 0.5 / (0.0045 * drift(0.1, 100.0)) == pytest.approx(13_333, abs=1)


def test_a_given_strength_is_the_authors_algorithm_to_the_end() -> None:
    training = Training("proximal-slimming", plan(strength=1.0))
    assert training.method.scales.gamma().unique().tolist() == [0.5]
    assert training.method.xi.min() >= 0.47
    assert training.method.xi.max() <= 0.53
    training.advance(STEPS)
    dead = training.method.xi == 0
    before = training.method.scales.gamma()
    assert 0 < dead.sum() < 24
    assert (before[dead] != 0).any(), "small, and not yet exact zeros"
    assert training.method.finish()
    after = training.method.scales.gamma()
    assert torch.equal(training.mask(), dead)
    assert (after[dead] == 0).all()
    assert (training.method.scales.shift()[dead] == 0).all()
    assert torch.equal(after[~dead], before[~dead])
    assert training.method.reached_by() == ""


def test_a_checkpoint_keeps_its_scales() -> None:
    training = Training("proximal-slimming", plan(fresh=False), zeros_given=2)
    expected = torch.tensor([1.0] * 8 + [0.0] * 2 + [1.0] * 14)
    assert torch.equal(training.method.scales.gamma(), expected)
    assert torch.equal(training.method.xi, expected)


def test_healing_holds_zeros_and_their_momentum_in_every_step() -> None:
    training = Training("proximal-slimming", plan())
    while training.method.strength > 0:
        training.advance(1)
    assert training.step <= 0.6 * STEPS
    mask = training.mask()
    assert mask.sum() == 12
    while training.step < STEPS:
        training.advance(1)
        assert torch.equal(training.mask(), mask)
        for layer, part in training.method.zeros().items():
            for parameter in training.model.get_submodule(layer).parameters():
                momentum = training.optimizer.state[parameter]["momentum_buffer"]
                assert (parameter[part] == 0).all()
                assert (momentum[part] == 0).all()
                assert (momentum[~part] != 0).any()
    before = training.state()["model"]
    assert not training.method.finish()
    assert same(before, training.state()["model"])
    assert training.method.reached_by() == "prox"


def test_too_few_steps_are_made_up_for_by_the_threshold() -> None:
    training = Training("proximal-slimming", plan(steps=1000))
    training.advance(20)
    assert training.mask().sum() == 0
    training.method.finish()
    assert training.mask().sum() == 12
    assert training.method.reached_by() == "threshold"


# ---- choosing channels ----------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_choice_takes_the_weakest_and_leaves_every_layer_its_floor(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    count = data.draw(st.integers(0, sum(sizes)))
    score = torch.rand(sum(sizes), generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    mask = weakest(score, sizes, count)
    floors = [floor(size) for size in sizes]
    assert mask.sum() == min(count, sum(sizes) - sum(floors))
    for part, least in zip(mask.split(sizes), floors, strict=True):
        assert (~part).sum() >= least >= 1
    spared = ~mask & ~strongest(score, sizes)
    if mask.any() and spared.any():
        assert score[mask].max() <= score[spared].min()


def test_floor_is_five_percent_rounded_up() -> None:
    assert [floor(n) for n in (1, 16, 20, 21, 64, 512)] == [1, 1, 1, 2, 4, 26]


def test_scales_see_every_batch_norm_once_and_in_order() -> None:
    model = TinyNet()
    scales = Scales(model)
    scales.write(torch.arange(24.0))
    assert torch.equal(scales.gamma(), torch.arange(24.0))
    assert torch.equal(model.bn2.weight, torch.arange(8.0, 24.0))
    assert {k: v.tolist() for k, v in scales.by_layer(torch.arange(24) < 9).items()} == {
        "bn1": [True] * 8,
        "bn2": [True] + [False] * 15,
    }


# ---- steering -------------------------------------------------------------------------------------------


def arrival(resistance: float, noise: float, looks: int = 100, planned: float = 1.0) -> float:
    """Fraction of the plan after which a simulated scale at distance 1 is at zero."""
    distance, travelled, interval = 1.0, 0.0, planned / looks
    generator = torch.Generator().manual_seed(0)
    state = start(distance, planned)
    while distance > 0 and travelled < 3 * planned:
        against = resistance * (1 + noise * torch.randn((), generator=generator).item())
        distance = max(distance - (state.strength - against) * interval, 0.0)
        travelled += interval
        following = correct(state, distance, interval, max(planned - travelled, interval))
        assert state.strength / GENTLE <= following.strength * 1.0001
        assert following.strength <= state.strength * GENTLE * 1.0001
        state = following
    return travelled / planned


@pytest.mark.parametrize("resistance", [0.0, 0.5, 0.95, 3.0, -0.2])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_steering_arrives_in_time_whatever_the_loss_does(resistance: float, noise: float) -> None:
    assert 0.75 <= arrival(resistance, noise) <= 1.1


def test_steering_keeps_a_strength_that_works() -> None:
    state = Steering(strength=2.0, distance=1.0)
    assert correct(state, distance=0.8, travelled=0.1, ahead=0.4).strength == pytest.approx(2.0)


def test_every_penalty_can_be_used_by_the_proximal_method() -> None:
    for name in PENALTIES:
        training = Training("proximal-slimming", plan(penalty=PENALTIES.get(name)))
        training.advance(STEPS)
        assert training.method.reached_by() == "prox"
