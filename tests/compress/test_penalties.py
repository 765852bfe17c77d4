from __future__ import annotations

import pytest
import torch

from compress.errors import UserError
from compress.penalties import PENALTIES, Penalty

STRENGTHS = [0.0, 0.3, 2.0]


@pytest.fixture(params=[(name, strength) for name in PENALTIES for strength in STRENGTHS], ids=str)
def penalty(request: pytest.FixtureRequest) -> Penalty:
    name, strength = request.param
    return PENALTIES.get(name)(strength)


def objective(penalty: Penalty, x: torch.Tensor, v: float, step: float) -> torch.Tensor:
    values = torch.stack([penalty.value(element) for element in x])
    return values + (x - v) ** 2 / (2 * step)


@pytest.mark.parametrize("step", [0.01, 0.5, 3.0])
def test_prox_is_the_minimiser_on_a_grid(penalty: Penalty, step: float) -> None:
    grid = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    for v in (-2.5, -0.31, 0.0, 0.02, 0.6, 1.7):
        found = penalty.prox(torch.tensor([v], dtype=torch.float64), step)
        best = objective(penalty, grid, v, step).min()
        assert objective(penalty, found, v, step).item() <= best.item() + 1e-12


def test_prox_is_odd_monotone_and_reaches_exact_zero(penalty: Penalty) -> None:
    v = torch.linspace(-3, 3, 601)
    x = penalty.prox(v, 0.5)
    assert torch.equal(x, -penalty.prox(-v, 0.5))
    assert (x.diff() >= 0).all()
    assert (x.abs() <= v.abs()).all()
    if penalty.strength > 0:
        assert (x[v.abs() < 0.5 * penalty.strength] == 0).all()


def test_subgradient_is_the_derivative_away_from_zero(penalty: Penalty) -> None:
    v = torch.tensor([-2.0, -0.4, 0.1, 1.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(penalty.value(v), v)
    assert torch.allclose(penalty.subgradient(v.detach()), slope)
    assert (penalty.subgradient(torch.zeros(3)) == 0).all()


def test_value_is_zero_at_zero_and_never_negative(penalty: Penalty) -> None:
    assert penalty.value(torch.zeros(5)).item() == 0
    assert penalty.value(torch.randn(100, generator=torch.Generator().manual_seed(0))).item() >= 0


def test_check_accepts_a_step_and_refuses_nonsense(penalty: Penalty) -> None:
    penalty.check(0.01)
    with pytest.raises(UserError, match="step"):
        penalty.check(0.0)


@pytest.mark.parametrize("name", PENALTIES.names())
def test_negative_strength_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="strength"):
        PENALTIES.get(name)(-1.0).check(0.1)
