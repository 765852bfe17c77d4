"""Gradual pruning, and what OrthoReg and feature flow add to the loss: by hand, and to the end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from toy_training import STEPS, Training, plan

from compress.methods import METHODS
from compress.methods.feature_flow import flow_length
from compress.methods.fggp import erdos_renyi
from compress.methods.gradual import Gradual, OnWeights
from compress.methods.orthoreg import orthonormality

GRADUAL = [name for name in METHODS if issubclass(METHODS.get(name), Gradual)]
SINGLE = [name for name in GRADUAL if issubclass(METHODS.get(name), OnWeights)]


def prepared(name: str, weights: Tensor, gradients: Tensor, target: float, mask: Tensor | None = None) -> Gradual:
    """A method on one row of weights, which have gradients already."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(len(weights), 1, bias=False))
    method = METHODS.get(name)()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method.setup(model, optimizer, plan(target=target, steps=10, fresh=False))
    model[1].weight.data[0], model[1].weight.grad = weights.clone(), gradients[None].clone()
    if mask is not None:
        method.mask = mask
    return method


def gone(mask: Tensor) -> list[int]:
    return mask.nonzero().flatten().tolist()


WEIGHTS = torch.tensor([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, 0.8])
GRADIENTS = torch.tensor([9.0, 8.0, 0.1, -7.0, 0.2, 0.3, 0.4, 6.0])


def test_magnitude_takes_the_smallest() -> None:
    method = prepared("gradual-magnitude", WEIGHTS, GRADIENTS, 0.5)
    assert gone(method.updated(3, method.mask)) == [0, 1, 2]


def test_fggp_takes_the_smallest_of_the_half_with_the_smallest_gradients() -> None:
    method = prepared("fggp", WEIGHTS, GRADIENTS, 0.5)
    method.mask = method.updated(2, torch.zeros(8, dtype=torch.bool))
    assert gone(method.mask) == [2, 4]  # of 2, 4, 5, 6
    assert gone(method.updated(3, torch.zeros(8, dtype=torch.bool))) == [2, 4, 5]  # of 5, 6 and 7


def test_fggp_takes_as_many_as_it_must() -> None:
    method = prepared("fggp", WEIGHTS, GRADIENTS, 0.5)
    assert gone(method.updated(6, torch.zeros(8, dtype=torch.bool))) == [2, 3, 4, 5, 6, 7]


def test_granet_exchanges_the_smallest_for_zeros_with_the_largest_gradients() -> None:
    mask = torch.tensor([True, True] + [False] * 6)
    method = prepared("granet", WEIGHTS * ~mask, GRADIENTS, 0.5, mask)
    method.step = method.end  # a share of 0.005 is none of these
    assert gone(method.updated(3, ~mask & mask)) == [0, 1, 2]
    method.step = method.end // 2  # about a quarter of the five that are left: one
    assert gone(method.updated(3, ~mask & mask)) == [1, 2, 3]


@pytest.mark.parametrize("name", [name for name in GRADUAL if name != "orthoreg"])
def test_the_share_of_zeros_follows_the_cubic_schedule(name: str) -> None:
    training = Training(name, plan(target=0.75))
    begin = training.mask().float().mean().item()
    assert begin == pytest.approx(0.5 if name == "fggp-erk" else 0.0, abs=0.01)
    for step in range(1, STEPS + 1):
        training.advance(1)
        progress = min(1, step / (0.8 * STEPS))
        wanted = 0.75 + (begin - 0.75) * (1 - progress) ** 3
        assert training.mask().float().mean().item() == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("name", GRADUAL)
def test_what_has_gone_is_zero_and_the_target_is_met_exactly(name: str) -> None:
    training = Training(name, plan(target=0.5))
    training.advance(STEPS)
    assert not training.method.finish()
    mask = training.mask()
    assert mask.sum() == round(0.5 * len(mask))
    assert torch.equal(training.method.units.zero(), mask)
    if name in SINGLE:
        assert "conv1.weight" not in training.method.zeros()
        assert all(not part.all() for part in training.method.zeros().values())


def test_orthoreg_prunes_in_rounds_of_equal_size() -> None:
    training, counts = Training("orthoreg", plan(target=10 / 24)), []
    for _ in range(STEPS):
        training.advance(1)
        counts.append(int(training.mask().sum()))
    assert sorted(set(counts)) == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5, 0.9])
def test_random_start_has_the_density_it_should(density: float) -> None:
    shapes = [(16, 3, 3, 3), (64, 16, 3, 3), (128, 64, 3, 3), (10, 128)]
    densities = erdos_renyi(shapes, density)
    sizes = [torch.Size(shape).numel() for shape in shapes]
    assert sum(d * n for d, n in zip(densities, sizes, strict=True)) == pytest.approx(density * sum(sizes))
    assert max(densities) <= 1 and min(densities) > 0
    free = [(d * n / sum(shape)) for d, n, shape in zip(densities, sizes, shapes, strict=True) if d < 1]
    assert free == pytest.approx([free[0]] * len(free))


def test_orthonormality_of_known_matrices() -> None:
    square = nn.Parameter(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))  # M M^T - I = [[0, 1], [1, 1]]
    tall = nn.Parameter(torch.tensor([[2.0], [0.0], [1.0]]))  # M^T M - 1 = 4
    assert orthonormality([square]).item() == pytest.approx(3.0)
    assert orthonormality([square, tall]).item() == pytest.approx((2**0.5 * 3 + 4) / (2**0.5 + 1))
    assert orthonormality([nn.Parameter(torch.eye(4, 9).view(4, 1, 3, 3))]).item() == 0


def test_flow_is_measured_within_runs_of_one_shape() -> None:
    a, b, c, other = (torch.full((2, 3), value) for value in (0.0, 1.0, 3.0, 100.0))
    assert float(flow_length([a, b, c])) == pytest.approx(1 + 2 + 1)
    assert float(flow_length([a, b, other.T, b, c])) == pytest.approx(1 + 2)
    assert float(flow_length([a])) == 0


def test_feature_flow_makes_consecutive_layers_alike() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.tanh(layer(x.flatten(1)))
            return x

    torch.manual_seed(0)
    model = Chain()
    method = METHODS.get("feature-flow")()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method.setup(model, optimizer, plan(shape=(1, 2, 3), strength=1.0))
    terms = []
    for _ in range(50):
        optimizer.zero_grad()
        term = method.loss_terms(model, model(torch.randn(8, 1, 2, 3)))
        terms.append(term.item())
        term.backward()
        optimizer.step()
    assert 0 < terms[-1] < 0.5 * terms[0]
    model.eval()(torch.randn(2, 1, 2, 3))
    assert not method.flow
