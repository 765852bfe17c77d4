from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.cli.train import PENALTY_HELP
from compress.errors import UserError
from compress.penalties import MCP, PENALTIES, SCAD, Lp, Penalty, parse, resolved

SHAPED = [
    "elastic-net:ridge=0.1",
    *(f"lp:p={p}" for p in ("1/4", "2/3", "3/4", "0.9", "0.1")),
    "tl1:a=0.1",
    "tl1:a=10",
    "mcp:edge=0.3",
    "scad:edge=0.4,a=2.1",
    "log-sum:eps=0.01",
    "log-sum:eps=2",
]
STRENGTHS = [0.002, 0.3, 2.0]
STEPS = [0.009, 0.1, 0.5, 3.0]  # some too long for `check`: the prox is the minimiser all the same
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(params=[*PENALTIES, *SHAPED])
def name(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


@pytest.fixture(params=STRENGTHS)
def penalty(name: str, request: pytest.FixtureRequest) -> Penalty:
    return parse(name)(request.param)


def values(penalty: Penalty, x: torch.Tensor) -> torch.Tensor:
    return torch.stack([penalty.value(element) for element in x])


# ---- the contract of all penalties ----------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_prox_is_the_minimiser_on_a_grid(penalty: Penalty, step: float) -> None:
    grid = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    at_grid = values(penalty, grid)
    v = torch.cat([torch.linspace(-2.9, 2.9, 59), torch.tensor([0.0, 0.02, 1e-4])]).double()
    found = penalty.prox(v, step)
    reached = values(penalty, found) + (found - v) ** 2 / (2 * step)
    best = (at_grid + (grid - v[:, None]) ** 2 / (2 * step)).min(dim=1).values
    assert (reached <= best + 1e-12 * (1 + 1 / step)).all()


@pytest.mark.parametrize("step", [0.009, 3.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_prox_is_odd_and_monotone_and_never_lengthens(penalty: Penalty, step: float, dtype: torch.dtype) -> None:
    v = torch.linspace(-3, 3, 601, dtype=dtype)
    x = penalty.prox(v, step)
    assert x.dtype == dtype
    assert torch.equal(x, -penalty.prox(-v, step))
    assert (x.diff() >= 0).all()
    assert (x.abs() <= v.abs()).all()


def test_prox_reaches_exact_zero_and_without_strength_changes_nothing(name: str) -> None:
    v = torch.linspace(0.01, 1, 100)
    assert (parse(name)(100.0).prox(v, 0.5) == 0).all()
    assert torch.allclose(parse(name)(0.0).prox(v, 0.5), v, rtol=1e-6)


@given(st.sampled_from([*PENALTIES, *SHAPED]), st.floats(0, 10), st.floats(1e-4, 10), st.floats(-1e3, 1e3))
@settings(deadline=None)
def test_no_point_beats_the_prox(name: str, strength: float, step: float, v: float) -> None:
    penalty = parse(name)(strength)
    point = torch.tensor([v], dtype=torch.float64)
    found = penalty.prox(point, step)
    nearby = found * torch.tensor([0.0, 0.5, 0.99, 1 - 1e-6, 1 + 1e-6, 1.01, 2.0])
    others = torch.cat([found, nearby, point, point / 2])
    objective = values(penalty, others) + (others - point) ** 2 / (2 * step)
    assert objective[0] <= objective.min() + 1e-9 * (1 + objective.abs().max())


def test_subgradient_is_the_derivative_away_from_zero(penalty: Penalty) -> None:
    v = torch.tensor([-2.0, -0.41, 0.1, 0.7, 1.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(penalty.value(v), v)
    assert torch.allclose(penalty.subgradient(v.detach()), slope)
    assert (penalty.subgradient(torch.zeros(3)) == 0).all()


def test_value_is_zero_at_zero_and_never_negative(penalty: Penalty) -> None:
    assert penalty.value(torch.zeros(5)).item() == 0
    assert penalty.value(torch.randn(100, generator=torch.Generator().manual_seed(0))).item() >= 0


def test_everything_is_proportional_to_the_strength(name: str) -> None:
    v = torch.linspace(-2, 2, 41, dtype=torch.float64)
    one, three = parse(name)(1.0), parse(name)(3.0)
    assert torch.allclose(3 * one.value(v), three.value(v))
    assert torch.allclose(3 * one.subgradient(v), three.subgradient(v))
    assert torch.allclose(one.prox(v, 0.3), three.prox(v, 0.1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strength", [0.002, 2.0])
def test_odd_numbers_do_no_harm(name: str, strength: float, dtype: torch.dtype) -> None:
    penalty = parse(name)(strength)
    tiny, huge = torch.finfo(dtype).smallest_normal / 4, torch.finfo(dtype).max
    v = torch.tensor([math.nan, math.inf, -math.inf, tiny, -tiny, 0.0, -0.0, huge, -huge], dtype=dtype)
    x, slope = penalty.prox(v, 0.1), penalty.subgradient(v)
    assert x[0].isnan() and slope[0].isnan()
    assert torch.equal(x[1:3], v[1:3])
    assert ((x[3:5] == 0) | (x[3:5] == v[3:5])).all()
    assert (x[5:7] == 0).all()
    assert torch.allclose(x[7:].double() / huge, v[7:].double() / huge, atol=0.2)
    assert slope[3:7].isfinite().all()
    assert penalty.value(v[3:7]).isfinite()


def test_half_precision_is_computed_in_single(name: str) -> None:
    penalty = parse(name)(0.3)
    v = torch.linspace(-2, 2, 81, dtype=torch.bfloat16)
    assert torch.equal(penalty.prox(v, 0.5), penalty.prox(v.float(), 0.5).bfloat16())
    assert penalty.value(v).dtype == torch.float32
    assert penalty.value(v.double()).dtype == torch.float64


def test_check_accepts_a_usual_step_and_refuses_nonsense(name: str) -> None:
    penalty = parse(name)(0.3)
    penalty.check(0.01)
    with pytest.raises(UserError, match="step"):
        penalty.check(0.0)
    for strength in (-1.0, math.inf, math.nan):
        with pytest.raises(UserError, match="strength"):
            parse(name)(strength).check(0.1)


# ---- shapes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "elastic-net:ridge=-1",
        "lp:p=0",
        "lp:p=1",
        "lp:p=-0.5",
        "tl1:a=0",
        "mcp:edge=0",
        "scad:edge=-1",
        "scad:a=1",
        "log-sum:eps=0",
    ],
)
def test_shapes_outside_their_domain_are_refused(text: str) -> None:
    shape = text.partition(":")[2].partition("=")[0]
    with pytest.raises(UserError, match=f"{shape} must"):
        parse(text)(0.1).check(0.01)


@pytest.mark.parametrize(("kind", "width"), [(MCP, 0.5), (SCAD, 0.5 - 0.5 / 3.7)])
def test_a_step_too_long_for_the_zone_is_refused_and_the_limit_named(kind: type[MCP | SCAD], width: float) -> None:
    kind(strength=0.99 * width / 0.01, edge=0.5).check(0.01)
    with pytest.raises(UserError, match=f"below {width / 0.01:.3g}: lower the strength"):
        kind(strength=1.01 * width / 0.01, edge=0.5).check(0.01)


@pytest.mark.parametrize(("name", "edge"), [("mcp", 0.7), ("scad", 0.7)])
def test_scales_beyond_the_edge_are_left_alone(name: str, edge: float) -> None:
    penalty = parse(f"{name}:edge={edge}")(2.0)
    v = torch.tensor([0.71, 1.0, -3.0])
    assert torch.equal(penalty.prox(v, 0.1), v)
    assert (penalty.subgradient(v) == 0).all()
    assert (penalty.subgradient(torch.tensor([0.1, 0.69])) > 0).all()


def test_closed_forms_of_lp_are_its_newton() -> None:
    v = torch.linspace(-3, 3, 301, dtype=torch.float64)
    for p in (1 / 2, 2 / 3):
        assert torch.allclose(Lp(0.7, p).prox(v, 0.4), Lp(0.7, p + 1e-12).prox(v, 0.4), atol=1e-10)


def test_the_slope_of_lp_never_throws_a_scale_away() -> None:
    assert Lp(1e-4, 0.5).subgradient(torch.tensor([1e-30])).item() < 0.01


# ---- how they are written -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l1", "l1"),
        ("mcp", "mcp:edge=1.0"),
        ("scad:a=3", "scad:edge=1.0,a=3.0"),
        ("lp:p=2/3", "lp:p=0.6666666666666666"),
    ],
)
def test_resolved_names_say_every_shape_and_mean_the_same(text: str, expected: str) -> None:
    assert resolved(text) == expected
    assert resolved(expected) == expected
    assert parse(text)(0.5) == parse(expected)(0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scat", "did you mean 'scad'"),
        ("", "unknown penalty ''"),
        ("mcp:egde=1", "shape of penalty mcp 'egde'; did you mean 'edge'"),
        ("mcp:strength=1", "shape of penalty mcp 'strength'"),
        ("l1:edge=1", "l1 has no shape"),
        ("mcp:edge", "edge needs a number, such as edge=1.0"),
        ("mcp:edge=wide", "edge needs a number"),
        ("lp:p=1/0", "p needs a number"),
        ("lp:p=nan", "p needs a number"),
    ],
)
def test_names_that_mean_nothing_are_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_help_names_every_penalty() -> None:
    assert all(name in PENALTY_HELP for name in PENALTIES)
