from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_net import NoNorm, TinyNet
from torch import nn
from toy_training import CHANNELS, STEPS, Training, plan, same

import graph
from compress.cli.train import METHOD_HELP
from compress.errors import UserError
from compress.methods import METHODS
from compress.methods.base import OnScales
from compress.methods.gradual import OnWeights
from compress.methods.scales import Scales
from compress.methods.units import least
from compress.penalties import PENALTIES, parse
from graph.export import export
from runtime import open_session

ON_CHANNELS = [name for name in METHODS if not issubclass(METHODS.get(name), OnWeights)]
SLIMMING = [name for name in ON_CHANNELS if name != "sgd"]
ON_SCALES = [name for name in SLIMMING if issubclass(METHODS.get(name), OnScales)]


# ---- the contract of all methods ------------------------------------------------------------------------


def fine_tuning_given_zeros(name: str) -> Training:
    return Training(name, plan(fresh=False), zeros_given=12)


@pytest.mark.parametrize("name", ON_CHANNELS)
def test_zeros_appear_and_are_exact(name: str) -> None:
    training = fine_tuning_given_zeros(name)
    training.advance(STEPS)
    training.method.finish()
    assert training.mask().sum() == 12
    for layer, mask in zip(("bn1", "bn2"), training.method.zeros().values(), strict=True):
        module = training.model.get_submodule(layer)
        assert (module.weight[mask] == 0).all()
        assert (module.bias[mask] == 0).all()
        assert (module.weight[~mask] != 0).all()


@pytest.mark.parametrize("name", SLIMMING)
def test_shrink_removes_the_channels_that_are_zero_and_no_others(name: str) -> None:
    training = Training(name, plan())
    training.advance(STEPS)
    training.method.finish()
    masks = list(training.method.zeros().values())
    assert sum(int(mask.sum()) for mask in masks) == 12
    model = export(training.model, torch.zeros(2, 1, 8, 8), name="net")
    slim, _ = graph.shrink(model)
    shapes = [tuple(each.dims)[:2] for each in slim.graph.initializer if len(each.dims) == 4]
    first, second = (int((~mask).sum()) for mask in masks)
    assert shapes == [(first, 1), (second, first)]
    images = torch.randn(64, 1, 8, 8).numpy()
    before, after = (open_session(each.SerializeToString()).run({"input": images})["output"] for each in (model, slim))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    assert (after.argmax(1) == before.argmax(1)).all()


@pytest.mark.parametrize("name", METHODS.names())
def test_zeros_hold_in_a_later_fine_tuning(name: str) -> None:
    training = fine_tuning_given_zeros(name)
    training.advance(STEPS)
    training.method.finish()
    zeros = {name: parameter == 0 for name, parameter in training.model.named_parameters()}
    assert sum(mask.sum() for mask in zeros.values()) >= training.mask().sum() > 0
    tuning = METHODS.get("sgd")()
    tuning.setup(training.model, training.optimizer, plan(fresh=False))
    training.method = tuning
    training.advance(10)
    assert all((training.model.get_parameter(name)[mask] == 0).all() for name, mask in zeros.items())
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
    assert training.mask().sum() == min(round(target * CHANNELS), CHANNELS - 2)


@pytest.mark.parametrize("name", SLIMMING)
def test_every_layer_keeps_its_floor(name: str) -> None:
    training = Training(name, plan(target=0.9, floor=0.3))
    training.advance(STEPS)
    training.method.finish()
    assert [int((~mask).sum()) for mask in training.method.zeros().values()] == [3, 5]


@pytest.mark.parametrize("name", ON_SCALES)
def test_a_model_without_batch_norm_is_refused(name: str) -> None:
    model = NoNorm()
    with pytest.raises(UserError, match="group-slimming"):
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


@pytest.mark.parametrize("name", ON_SCALES)
def test_a_fresh_model_starts_at_the_published_scale(name: str) -> None:
    assert Training(name, plan()).method.scales.gamma().unique().tolist() == [0.5]
    assert Training(name, plan(fresh=False)).method.scales.gamma().unique().tolist() == [1.0]


def test_the_help_names_every_method() -> None:
    assert all(name in METHOD_HELP for name in METHODS)


# ---- network slimming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [name for name in PENALTIES if name != "l0"])
def test_network_slimming_makes_scales_small_with_every_penalty(penalty: str) -> None:
    without, slimmed = (
        Training("network-slimming", plan(penalty=parse(penalty), strength=strength)) for strength in (0.0, 0.02)
    )
    for training in (without, slimmed):
        training.advance(STEPS)
    assert slimmed.method.scales.gamma().abs().mean() < 0.95 * without.method.scales.gamma().abs().mean()
    assert slimmed.method.scales.gamma().abs().max() < 2


@pytest.mark.parametrize("penalty", ["l0", "mcp:edge=0.4"])
def test_network_slimming_refuses_a_penalty_without_a_slope_at_the_scales(penalty: str) -> None:
    with pytest.raises(UserError, match="no slope at any scale"):
        Training("network-slimming", plan(penalty=parse(penalty)))


# ---- variational slimming -------------------------------------------------------------------------------


def test_saliencies_are_sampled_in_training_only() -> None:
    training = Training("variational-slimming", plan(fresh=False))
    images = torch.randn(4, 1, 8, 8)
    before = training.state()["model"]
    training.model.eval()
    assert torch.equal(training.model(images), training.model(images))
    assert same(before, training.state()["model"])
    training.model.train()
    first = training.model(images)
    assert torch.equal(training.model(images), first)  # another pass of the same step
    training.method.after_backward()
    assert not torch.equal(training.model(images), first)
    training.method.finish()
    assert torch.equal(training.model(images), training.model(images))


def test_a_given_strength_zeroes_what_is_insignificant() -> None:
    training = Training("variational-slimming", plan(strength=3e-4))
    training.advance(STEPS)
    small = training.method.scales.gamma().abs() <= 0.02
    assert 0 < small.sum() < CHANNELS
    assert torch.equal(training.mask(), small)
    training.method.finish()
    assert torch.equal(training.mask(), small)
    assert training.method.reached_by() == ""


# ---- choosing channels ----------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_choice_takes_the_weakest_and_leaves_every_layer_its_floor(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    count = data.draw(st.integers(0, sum(sizes)))
    floor = data.draw(st.floats(0, 1))
    scales = Scales(nn.ModuleList(nn.BatchNorm1d(size) for size in sizes), floor)
    score = torch.rand(sum(sizes), generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    mask = scales.weakest(score, count)
    floors = [least(size, floor) for size in sizes]
    assert mask.sum() == min(count, sum(sizes) - sum(floors))
    for part, kept in zip(mask.split(sizes), floors, strict=True):
        assert (~part).sum() >= kept >= 1
    spared = ~mask & ~scales.strongest(score)
    if mask.any() and spared.any():
        assert score[mask].max() <= score[spared].min()


def test_only_layers_that_would_be_emptied_get_their_floor_back() -> None:
    mask = torch.tensor([True] * 3 + [True, True, False])
    score = torch.tensor([0.0, 2.0, 1.0, 9.0, 8.0, 7.0])
    scales = Scales(nn.ModuleList([nn.BatchNorm1d(3), nn.BatchNorm1d(3)]))
    assert scales.unemptied(mask, score).tolist() == [True, False, True, True, True, False]


def test_the_floor_is_rounded_up() -> None:
    assert [least(n, 0.05) for n in (1, 16, 20, 21, 64, 512)] == [1, 1, 1, 2, 4, 26]
    assert least(8, 0.0) == 1


def test_scales_see_every_batch_norm_once_and_in_order() -> None:
    model = TinyNet()
    scales = Scales(model)
    scales.write(torch.arange(24.0))
    assert torch.equal(scales.gamma(), torch.arange(24.0))
    assert torch.equal(model.bn2.weight, torch.arange(8.0, 24.0))
    assert {k: v.tolist() for k, v in scales.by_family(torch.arange(24) < 9).items()} == {
        "bn1": [True] * 8,
        "bn2": [True] + [False] * 15,
    }
