"""What a network loses when channels go, and what its other weights can make up for, without labels."""

from __future__ import annotations

import numpy as np
import pytest
from repair_nets import (
    NETWORKS,
    ONE,
    draw,
    error,
    feeds,
    mask,
    mended,
    residual_network,
    two_convolutions,
    widths,
)

import graph
from compress.repair import importance, repair
from graph.candidates.classes import classes


def test_a_duplicated_channel_costs_nothing() -> None:
    first, bias = draw(6, 3, 3, 3), draw(6)
    first[4], bias[4] = 2 * first[1], 2 * bias[1]  # relu(2 x) = 2 relu(x)
    model, batches = two_convolutions(first, bias, draw(5, 6, 3, 3)), feeds(16, 3, 8, 8)
    found = classes(graph.analyse(model))
    assert error(model, found.zeroed(mask(found, 4)), batches) > 0.05
    result = mended(model, [4], batches)
    assert error(model, result.model, batches) < 1e-5
    slim, _ = graph.shrink(result.model)
    assert widths(slim)["w2"] == (5, 5, 3, 3)
    scores = importance(found, batches, settings=ONE)
    assert scores.argmin() in (1, 4)
    assert np.sort(scores)[0] < 0.01 * np.sort(scores)[1]


def test_a_constant_channel_goes_into_the_bias() -> None:
    first, bias = draw(6, 3, 3, 3), draw(6)
    first[2], bias[2] = 0, 3
    model, batches = two_convolutions(first, bias, draw(5, 6, 3, 3), pads=0), feeds(16, 3, 8, 8)
    found = classes(graph.analyse(model))
    assert error(model, found.zeroed(mask(found, 2)), batches) > 0.05
    assert error(model, mended(model, [2], batches).model, batches) < 1e-6


def test_what_is_chosen_is_exactly_what_shrink_removes() -> None:
    model = two_convolutions(draw(8, 3, 3, 3), draw(8), draw(5, 8, 3, 3))
    result = mended(model, [0, 3, 5], feeds(8, 3, 8, 8))
    slim, certificate = graph.shrink(result.model)
    assert widths(slim)["w1"] == (5, 3, 3, 3)
    assert widths(slim)["w2"] == (5, 5, 3, 3)
    assert error(result.model, slim, feeds(2, 3, 8, 8)) < 1e-10
    assert certificate.removed


def test_nothing_chosen_changes_nothing() -> None:
    model = two_convolutions(draw(8, 3, 3, 3), draw(8), draw(5, 8, 3, 3))
    result = mended(model, [], feeds(8, 3, 8, 8))
    assert (result.fitted, result.error) == ([], 0)
    assert widths(result.model) == widths(model)
    assert error(model, result.model, feeds(2, 3, 8, 8)) == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_repair_makes_up_for_much_on_data_that_it_has_not_seen(name: str) -> None:
    build, shape = NETWORKS[name]
    model = build()
    batches, fresh = feeds(*shape, count=4), feeds(*shape, count=6)[4:]
    found = classes(graph.analyse(model))
    chosen = found.weakest(np.random.default_rng(0).random(len(found)), len(found) // 3)
    plain = error(model, found.zeroed(chosen), fresh)
    result = repair(found, chosen, batches, settings=ONE)
    assert error(model, result.model, fresh) < 0.8 * plain
    assert result.error == pytest.approx(error(model, result.model, batches), rel=0.3)
    slim, _ = graph.shrink(result.model)
    assert error(result.model, slim, fresh) < 1e-8


@pytest.mark.parametrize("name", NETWORKS)
def test_importance_is_better_than_chance(name: str) -> None:
    build, shape = NETWORKS[name]
    model = build()
    batches = feeds(*shape, count=2)
    found = classes(graph.analyse(model))
    ours = found.weakest(importance(found, batches, settings=ONE), len(found) // 3)
    random = [found.weakest(np.random.default_rng(seed).random(len(found)), len(found) // 3) for seed in range(5)]
    by_chance = [repair(found, each, batches, settings=ONE).error for each in random]
    assert repair(found, ours, batches, settings=ONE).error <= np.median(by_chance)


def test_a_sum_makes_good_the_error_of_its_other_side() -> None:
    """The second block of the stream is not pruned, and is fitted all the same."""
    model, batches = residual_network(True), feeds(16, 3, 8, 8)
    family = classes(graph.analyse(model)).family
    first = np.flatnonzero(family == np.flatnonzero(np.bincount(family) == 12)[0])  # channels inside a block
    result = mended(model, first[:4], batches)
    assert len(result.fitted) == 4  # the pruned block's second, both of the other block, and the classifier
    assert {label.partition(":")[0] for label in result.fitted} == {"Conv", "Gemm"}


def test_the_original_is_not_touched() -> None:
    model = residual_network(True)
    before = model.SerializeToString()
    mended(model, [0, 1], feeds(4, 3, 8, 8))
    assert model.SerializeToString() == before
