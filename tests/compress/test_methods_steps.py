"""One step of each method by hand, and where many steps end on problems whose solution is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_net import TinyNet
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.func import functional_call
from torch.nn import functional as F
from toy_training import plan

from compress.methods import METHODS, Method
from compress.methods.proximal_slimming import palm_drift, palm_step
from compress.methods.variational_slimming import PRIOR
from compress.penalties import L1, MCP, PENALTIES, LogSum, parse

LABELS = torch.arange(8)


def begin(name: str, lr: float, momentum: float = 0.0, **changes: Any) -> tuple[nn.Module, torch.optim.SGD, Method]:
    torch.manual_seed(1)
    model = TinyNet().double()
    with torch.no_grad():
        for layer in (model.bn1, model.bn2):
            layer.weight.uniform_(-1, 1)
            layer.bias.uniform_(-1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    method = METHODS.get(name)()
    method.setup(model, optimizer, plan(fresh=False, rate=lambda step: lr, **changes))
    return model, optimizer, method


def take_step(model: nn.Module, optimizer: torch.optim.SGD, method: Method, lr: float) -> tuple[Tensor, Tensor]:
    """A step as the training loop takes it; returns the loss's gradients of all scales and all shifts."""
    optimizer.zero_grad()
    F.cross_entropy(model(torch.randn(8, 1, 8, 8, dtype=torch.float64)), LABELS).backward()
    gradients = [torch.cat([getattr(bn, name).grad for bn in (model.bn1, model.bn2)]) for name in ("weight", "bias")]
    method.after_backward()
    optimizer.step()
    method.after_step(lr)
    return gradients[0], gradients[1]


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=1e-12)


def firm(v: Tensor, step: float, strength: float, edge: float) -> Tensor:
    u = v.abs()
    inside = (u - step * strength).clamp(min=0) / (1 - step * strength / edge)
    return v.sign() * torch.where(u <= edge, inside, u)


# ---- one step -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lr", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("beta", [100.0, 0.25])
@pytest.mark.parametrize("penalty", [L1, MCP])
def test_proximal_slimming_is_palm(lr: float, beta: float, penalty: Any) -> None:
    strength, alpha = 0.7, 1 / lr
    step = 1 / (alpha + beta)
    model, optimizer, method = begin("proximal-slimming", lr, strength=strength, beta=beta, penalty=penalty)
    for _ in range(3):
        gamma, xi = method.scales.gamma(), method.xi
        gradient, _ = take_step(model, optimizer, method, lr)
        gamma = (alpha * gamma + beta * xi - gradient) / (alpha + beta)
        v = (alpha * xi + beta * gamma) / (alpha + beta)
        soft = torch.sign(v) * torch.clamp(v.abs() - strength * step, min=0)
        assert close(method.scales.gamma(), gamma)
        assert close(method.xi, soft if penalty is L1 else firm(v, step, strength, edge=1.0))


@pytest.mark.parametrize("penalty", [L1, MCP])
def test_proximal_gradient_is_the_prox_of_a_gradient_step_without_momentum(penalty: Any) -> None:
    lr, strength = 0.1, 1.5
    model, optimizer, method = begin("proximal-gradient", lr, momentum=0.9, strength=strength, penalty=penalty)
    for step in range(3):
        gamma, shift = method.scales.gamma(), method.scales.shift()
        gradient, shift_gradient = take_step(model, optimizer, method, lr)
        v = gamma - lr * gradient
        soft = torch.sign(v) * torch.clamp(v.abs() - lr * strength, min=0)
        expected = soft if penalty is L1 else firm(v, lr, strength, edge=1.0)
        assert close(method.scales.gamma(), expected)
        if step == 0:  # later the shift has momentum
            moved = shift - lr * shift_gradient
            shrunk = penalty(strength).prox(moved, lr)
            assert (expected == 0).any()
            assert close(method.scales.shift(), torch.where(expected == 0, shrunk, moved))


@pytest.mark.parametrize("penalty", [L1, MCP])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_group_slimming_shrinks_whole_groups_of_channels(penalty: Any, momentum: float) -> None:
    lr, strength = 0.01, 3.0
    model, optimizer, method = begin("group-slimming", lr, momentum=momentum, strength=strength, penalty=penalty)
    layers = [(model.conv1, model.bn1), (model.conv2, model.bn2)]

    def groups(number: int) -> Tensor:
        conv, bn = layers[number]
        return torch.cat([conv.weight.detach().flatten(1), bn.weight.detach()[:, None], bn.bias.detach()[:, None]], 1)

    units = [groups(number).square().mean(1).sqrt().mean() for number in range(2)]  # root mean square, mean of layer
    for _ in range(2):
        buffers = {p: state["momentum_buffer"].clone() for p, state in optimizer.state.items() if momentum}
        before = {p: p.detach().clone() for p in model.parameters()}
        take_step(model, optimizer, method, lr)
        for number, (conv, bn) in enumerate(layers):
            after = groups(number)
            for p in (conv.weight, bn.weight, bn.bias):
                p.data = before[p] - lr * (momentum * buffers.get(p, 0) + p.grad)
            stepped = groups(number)
            size = stepped.square().mean(1).sqrt() / units[number]
            shrunk = penalty(strength).prox(size, lr / (1 - momentum))
            assert close(after, stepped * (shrunk / size)[:, None])
            conv.weight.data, bn.weight.data, bn.bias.data = (
                after[:, :-2].view_as(conv.weight), after[:, -2].clone(), after[:, -1].clone()
            )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PENALTIES if name != "l0"])
def test_network_slimming_adds_the_subgradient_and_it_enters_the_momentum(name: str) -> None:
    lr, penalty = 0.1, parse(name)(0.3)
    model, optimizer, method = begin("network-slimming", lr, momentum=0.9, strength=0.3, penalty=parse(name))
    buffer = torch.zeros(24, dtype=torch.float64)
    for _ in range(3):
        gamma = method.scales.gamma()
        gradient, _ = take_step(model, optimizer, method, lr)
        buffer = 0.9 * buffer + gradient + penalty.subgradient(gamma)
        assert close(method.scales.gamma(), gamma - lr * buffer)


def test_group_slimming_ends_at_the_group_lasso() -> None:
    """Least squares on two groups of a layer, with momentum, against the conditions of Yuan and Lin, equation 2.3."""
    torch.manual_seed(0)
    lr, strength, momentum = 0.05, 0.3, 0.9
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False)).double()
    model[2].requires_grad_(False)
    optimizer = torch.optim.SGD([model[1].weight], lr=lr, momentum=momentum)
    method = METHODS.get("group-slimming")()
    method.setup(model, optimizer, plan(fresh=False, shape=(1, 2, 2), strength=strength, rate=lambda step: lr))
    rows = model[1].weight
    wanted = rows.detach() * torch.tensor([[2.0], [0.1], [1.0]], dtype=torch.float64)
    for _ in range(2000):
        rows.grad = rows.detach() - wanted
        optimizer.step()
        method.after_step(lr)
    found, scale = rows.detach(), method.groups.unit / 2  # the square root of 4 elements
    gradient = found - wanted
    assert (found.norm(dim=1) == 0).tolist() == [False, True, False]
    weight = strength * 2 * scale
    assert gradient[1].norm() <= weight[1]
    for row in (0, 2):
        assert torch.allclose(gradient[row], -weight[row] * found[row] / found[row].norm(), atol=1e-9)


def test_variational_slimming_descends_the_sampled_bound() -> None:
    lr, strength = 0.1, 1e-4
    model, optimizer, method = begin("variational-slimming", lr, strength=strength)
    for _ in range(3):
        m = method.scales.gamma().requires_grad_()
        c, log_sigma = (value.detach().clone().requires_grad_() for value in (method.shift, method.log_sigma))
        noise_state, image_state = method.generator.get_state(), torch.get_rng_state()
        noise = torch.randn(24, generator=method.generator).double()
        images = torch.randn(8, 1, 8, 8, dtype=torch.float64)
        method.generator.set_state(noise_state)
        torch.set_rng_state(image_state)

        s = m + log_sigma.exp() * noise
        names = ("bn1.weight", "bn2.weight", "bn1.bias", "bn2.bias")
        sampled = dict(zip(names, (*s.split([8, 16]), *(s * c).split([8, 16])), strict=True))
        posterior, prior = Normal(m, log_sigma.exp()), Normal(torch.zeros_like(m), torch.full_like(m, PRIOR))
        held = {name: value.detach().clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}
        method.finished = True  # so that the reference's pass draws nothing
        bound = F.cross_entropy(functional_call(model, {**held, **sampled}, images), LABELS)
        bound = bound + strength * kl_divergence(posterior, prior).sum()
        method.finished = False
        slopes = torch.autograd.grad(bound, (m, c, log_sigma))

        take_step(model, optimizer, method, lr)
        now = (method.scales.gamma(), method.shift, method.log_sigma)
        for before, slope, after in zip((m, c, log_sigma), slopes, now, strict=True):
            assert close(before - lr * slope, after)
        assert close(method.scales.shift(), now[0] * now[1])


# ---- many steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lr", "beta", "strength"), [(0.1, 100.0, 0.0045), (0.01, 100.0, 0.3), (0.1, 0.25, 0.02)])
@pytest.mark.parametrize("make", [L1, MCP, LogSum], ids=["l1", "mcp", "log-sum"])
def test_without_a_gradient_the_pair_drifts_by_the_slope(lr: float, beta: float, strength: float, make: Any) -> None:
    penalty = make(strength)
    gamma = torch.full((1,), 0.5, dtype=torch.float64)
    xi = gamma.clone()
    for _ in range(200):
        gamma, xi = palm_step(gamma, xi, lr, beta, penalty)
    before, slope = xi.clone(), penalty.subgradient(xi).item()
    gamma, xi = palm_step(gamma, xi, lr, beta, penalty)
    assert (before - xi).item() == pytest.approx(slope * palm_drift(lr, beta), rel=0.05)


def test_the_published_run_needs_the_published_number_of_steps() -> None:
    assert 0.5 / (0.0045 * palm_drift(0.1, 100.0)) == pytest.approx(13_333, abs=1)


CURVATURE = torch.tensor([0.5, 1.0, 1.0, 2.0, 2.0, 3.0], dtype=torch.float64)
WANTED = torch.tensor([0.9, 0.05, -0.8, 0.6, -0.02, 0.15], dtype=torch.float64)


def descend(name: str, penalty: Callable[[float], Any], strength: float, momentum: float) -> tuple[Method, Tensor]:
    """Train scales on the loss ``sum CURVATURE (gamma - WANTED)^2 / 2``; the method and the final gradient."""
    model = nn.BatchNorm1d(6).double()
    optimizer = torch.optim.SGD([model.weight], lr=0.05, momentum=momentum)
    method = METHODS.get(name)()
    method.setup(model, optimizer, plan(penalty=penalty, strength=strength, beta=5.0, rate=lambda step: 0.05))
    for _ in range(3000):
        model.weight.grad = CURVATURE * (model.weight.detach() - WANTED)
        method.after_backward()
        optimizer.step()
        method.after_step(0.05)
    return method, CURVATURE * (method.scales.gamma() - WANTED)


@pytest.mark.parametrize("name", ["l1", "elastic-net", "mcp", "scad", "tl1", "log-sum:eps=0.3"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_proximal_slimming_ends_at_its_fixed_point(name: str, momentum: float) -> None:
    strength, beta = 0.2, 5.0
    method, gradient = descend("proximal-slimming", parse(name), strength, momentum)
    gamma, xi, slope = method.scales.gamma(), method.xi, parse(name)(strength).subgradient(method.xi)
    alive = xi != 0
    assert 0 < alive.sum() < 6
    assert torch.allclose((gamma - xi)[alive], slope[alive] / beta, atol=1e-8)
    assert torch.allclose(gradient, -(1 - momentum) * beta * (gamma - xi), atol=1e-8)
    if name == "l1":
        assert (gamma[~alive].abs() <= strength / beta).all()
        stiff = beta * (1 - momentum)
        nearest = CURVATURE * WANTED.abs() / (CURVATURE + stiff)  # where a dead scale rests
        assert torch.equal(alive, nearest > strength / beta)


@pytest.mark.parametrize("name", PENALTIES.names())
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_proximal_gradient_ends_at_a_fixed_point(name: str, momentum: float) -> None:
    penalty = parse(name)(0.1)
    method, gradient = descend("proximal-gradient", parse(name), 0.1, momentum)
    gamma = method.scales.gamma()
    assert 0 < (gamma == 0).sum() < 6
    assert torch.allclose(gamma, penalty.prox(gamma - 0.05 * gradient, 0.05), atol=1e-9)
    assert torch.allclose(gradient[gamma != 0], -penalty.subgradient(gamma)[gamma != 0], atol=1e-9)
    if name in ("l1", "elastic-net", "mcp", "scad", "tl1"):  # loss and penalty together have one minimum
        minimum = [penalty.prox(w, 1 / h.item()) for w, h in zip(WANTED.split(1), CURVATURE, strict=True)]
        assert torch.allclose(gamma, torch.cat(minimum), atol=1e-8)
