"""Joint sparsity promotion and redundancy reduction: its constraint by hand, where it ends, and exact merging."""

from __future__ import annotations

from itertools import permutations
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy_training import CHANNELS, STEPS, Training, export_once, plan

import graph
from compress.bridge.coupling import Coupling, coupling
from compress.methods.joint_filters import find_filters, gradient_count, overlap, redundant
from compress.methods.joint_merging import Consumers
from compress.methods.joint_sparsity import AUTO, EPSILON, REDUNDANCY
from graph.export import export
from runtime import open_session

# ---- the constraint -------------------------------------------------------------------------------------


def count_by_hand(filters: Tensor, epsilon: float) -> float:
    """Over every pair of neighbours."""
    total, (rows, inputs, height, width) = 0.0, filters.shape
    for f in range(rows):
        for i in range(inputs):
            for y in range(height):
                for x in range(width):
                    here = filters[f, i, y, x]
                    neighbours = [filters[f, i, y + 1, x]] if y + 1 < height else []
                    neighbours += [filters[f, i, y, x + 1]] if x + 1 < width else []
                    if height == width == 1 and i + 1 < inputs:
                        neighbours = [filters[f, i + 1, y, x]]
                    total += sum(float((n - here) ** 2 / ((n - here) ** 2 + epsilon**2)) for n in neighbours)
    return total / rows


def overlap_by_hand(filters: Tensor) -> float:
    pairs = list(permutations(filters.flatten(1), 2))
    return sum(float(F.cosine_similarity(a, b, dim=0)) ** 2 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (3, 5, 1, 1), (2, 1, 2, 3)])
@pytest.mark.parametrize("epsilon", [0.1, 0.001])
def test_terms_are_their_formulas(shape: tuple[int, ...], epsilon: float) -> None:
    filters = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    filters[0] = filters[0].round(decimals=1)
    assert gradient_count(filters, epsilon).item() == pytest.approx(count_by_hand(filters, epsilon))
    assert overlap(filters).item() == pytest.approx(overlap_by_hand(filters))


def test_a_small_epsilon_counts_the_gradients_that_are_not_zero() -> None:
    filters = torch.tensor([[[1.0, 1.0, 3.0], [1.0, 1.0, 3.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.5]]])[:, None]
    assert gradient_count(filters, 1e-4).item() == pytest.approx((2 + 2) / 2, abs=1e-5)


def test_a_single_filter_has_no_other_and_a_zero_filter_no_direction() -> None:
    assert overlap(torch.ones(1, 3, 3, 3)) == 0
    filters = torch.stack([torch.ones(4), torch.zeros(4), -torch.ones(4)]).requires_grad_()
    term = overlap(filters)
    term.backward()
    assert term.item() == pytest.approx(1 / 3)
    assert filters.grad is not None and filters.grad.isfinite().all()


def test_one_step_is_that_of_the_loss_and_the_constraint() -> None:
    training = Training("joint-sparsity", plan(strength=0.01, target=0.0))
    training.advance(7)
    model, lr, epsilon = training.model, 0.1, EPSILON[0] * (EPSILON[1] / EPSILON[0]) ** (7 / STEPS)
    generator = torch.Generator().manual_seed(8)
    images = torch.randn(16, 1, 8, 8, generator=generator)
    labels = torch.randint(10, (16,), generator=generator)
    layers = [model.conv1.weight, model.conv2.weight]
    reference = F.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(reference, layers)
    expected = []
    for weight, gradient in zip(layers, gradients, strict=True):
        w = weight.detach().double().requires_grad_()
        unit = w.flatten(1) / w.flatten(1).norm(dim=1, keepdim=True)
        total = sum((unit[i] @ unit[j]) ** 2 for i, j in permutations(range(len(w)), 2))
        down, right = w[:, :, 1:] - w[:, :, :-1], w[..., 1:] - w[..., :-1]
        counted = sum((z**2 / (z**2 + epsilon**2)).sum() for z in (down, right))
        term = 0.01 * (counted / len(w) + REDUNDANCY * total / (len(w) * (len(w) - 1)))
        slope = gradient + torch.autograd.grad(term, w)[0] + 1e-4 * weight.detach()
        expected.append(weight.detach() - lr * (slope + 0.9 * training.optimizer.state[weight]["momentum_buffer"]))
    training.advance(1)
    for weight, wanted in zip(layers, expected, strict=True):
        torch.testing.assert_close(weight.detach().double(), wanted, rtol=1e-4, atol=1e-6)


# ---- many steps -----------------------------------------------------------------------------------------


def test_counting_gradients_finds_the_pieces_of_a_noisy_filter() -> None:
    wanted = torch.tensor([0.0] * 6 + [1.0] * 5 + [-0.5] * 7, dtype=torch.float64)
    noisy = wanted + 0.05 * torch.randn(18, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    filters = noisy.clone().view(1, 1, 1, 18).requires_grad_()
    optimizer = torch.optim.SGD([filters], lr=0.05)
    for step in range(4000):
        epsilon = EPSILON[0] * (EPSILON[1] / EPSILON[0]) ** (step / 4000)
        for group in optimizer.param_groups:
            group["lr"] = min(0.05, 20 * epsilon**2)  # below the curvature of the count
        optimizer.zero_grad()
        ((filters.flatten() - noisy).square().sum() / 2 + 0.05 * gradient_count(filters, epsilon)).backward()
        optimizer.step()
    found = filters.detach().flatten()
    jumps = found.diff().abs() > 0.01
    assert jumps.nonzero().flatten().tolist() == [5, 10]
    means = torch.cat([part.mean().expand(len(part)) for part in noisy.split([6, 5, 7])])
    torch.testing.assert_close(found, means, rtol=0, atol=0.02)


def test_without_a_loss_filters_become_orthogonal() -> None:
    draw = torch.Generator().manual_seed(0)
    filters = torch.randn(5, 2, 3, 3, generator=draw, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.SGD([filters], lr=1.0)
    for _ in range(500):
        optimizer.zero_grad()
        (10 * overlap(filters)).backward()
        optimizer.step()
    assert overlap(filters) < 1e-8
    assert torch.linalg.matrix_rank(filters.detach().flatten(1)) == 5


# ---- redundant filters ----------------------------------------------------------------------------------


class Net(nn.Module):
    """A stem whose channels a convolution, an up-convolution, a residual sum and a linear layer read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv, self.up = nn.Conv2d(6, 4, 3, padding=1), nn.ConvTranspose2d(6, 4, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        y = torch.cat([F.relu(self.conv(x)) + F.relu(self.up(x)), x], 1)
        return self.head(y.mean((2, 3)))


class Gated(Net):
    """The same channels also meet one another."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        rows = x.flatten(2)
        alike = (rows.transpose(1, 2) @ rows).mean((1, 2))
        y = torch.cat([F.relu(self.conv(x)) + F.relu(self.up(x)), x], 1)
        return self.head(y.mean((2, 3))) + alike[:, None]


def doubled(model: Net, factor: float) -> Net:
    """Channel 4 is ``factor`` times channel 1."""
    with torch.no_grad():
        for parameter in (model.bn.weight, model.bn.bias):
            nn.init.uniform_(parameter, 0.5, 1)
            parameter[4] = factor * parameter[1]
        for buffer in (model.stem.weight, model.stem.bias):
            buffer[4] = 3 * buffer[1]
        model.bn.eps = 1e-12
    return model


def coupled(model: nn.Module) -> Coupling:
    with patch("compress.bridge.coupling.export", export_once):
        return coupling(model, (3, 8, 8))


@pytest.mark.parametrize("factor", [2.0, 0.3])
def test_merging_proportional_channels_is_exact_and_shrinks(factor: float, tmp_path) -> None:
    torch.manual_seed(0)
    model = doubled(Net(), factor)
    groups = coupled(model)
    consumers = Consumers(model, groups, lambda: True)
    images = torch.randn(16, 3, 8, 8)
    before = model(images).detach()
    alive = torch.ones(len(groups), dtype=torch.bool)
    assert redundant(find_filters(groups), alive) == [(1, 4)]
    assert consumers.merge(1, 4)
    groups.hold_zero(torch.arange(len(groups)) == 4)
    torch.testing.assert_close(model(images), before, rtol=1e-4, atol=1e-5)

    after = model.eval()(images).detach()
    slim, certificate = graph.shrink(export(model, images[:2], name="net"))
    assert certificate.output.parameters < certificate.input.parameters
    graph.save(slim, tmp_path / "slim.onnx")
    found = open_session(tmp_path / "slim.onnx").run({"input": images.numpy()})["output"]
    torch.testing.assert_close(torch.from_numpy(found), after, rtol=1e-4, atol=1e-5)


def test_channels_that_meet_one_another_are_not_merged() -> None:
    torch.manual_seed(0)
    model = doubled(Gated(), 2.0)
    groups = coupled(model)
    consumers = Consumers(model, groups, lambda: True)
    model(torch.randn(4, 3, 8, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not consumers.merge(1, 4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_nothing_is_merged_before_activations_were_seen() -> None:
    model = doubled(Net(), 2.0)
    groups = coupled(model)
    listening = False
    consumers = Consumers(model, groups, lambda: listening)
    model(torch.randn(4, 3, 8, 8))
    assert not consumers.merge(1, 4)
    listening = True
    model.eval()(torch.randn(4, 3, 8, 8))
    assert not consumers.merge(1, 4)
    model.train()(torch.randn(4, 3, 8, 8))
    assert consumers.merge(1, 4)


def test_the_later_of_two_filters_goes_the_most_alike_first() -> None:
    training = Training("joint-sparsity", plan())
    model, filters = training.model, training.method.filters
    with torch.no_grad():
        model.conv1.weight[5] = -2 * model.conv1.weight[2]
        noise = 0.1 * torch.randn(9) * model.conv1.weight[0].norm() / 3
        model.conv1.weight[7] = model.conv1.weight[0] + noise.view(1, 3, 3)
    alive = torch.ones(CHANNELS, dtype=torch.bool)
    assert redundant(filters, alive) == [(2, 5), (0, 7)]
    alive[5] = False
    assert redundant(filters, alive) == [(0, 7)]


def test_redundant_groups_go_before_small_ones() -> None:
    training = Training("joint-sparsity", plan(target=1 / CHANNELS, strength=0.0, rate=lambda step: 0.0))
    with torch.no_grad():
        training.model.conv2.weight[9] = training.model.conv2.weight[3]
        training.model.conv2.weight[12] *= 0.1
    training.optimizer.param_groups[0]["lr"] = 0.0
    training.advance(STEPS)
    assert training.mask().nonzero().flatten().tolist() == [8 + 9]
    assert training.method.figures()["merged"] == 1


def test_auto_is_the_default_strength() -> None:
    assert Training("joint-sparsity", plan()).method.strength == AUTO
