"""Masks as inputs compute what zeros in the constants do, whatever lies between."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from mask_nets import NETS, calibration, fixed, sure

import graph
from compress.prune import CRITERIA, Context
from compress.prune.calibration import Calibration, by_sample
from compress.prune.distributions import Distributions
from compress.prune.masked import MaskedModel, opened
from graph.candidates.classes import Classes, classes
from graph.candidates.halves import halve
from graph.candidates.masks import alike
from runtime import Settings

SETTINGS = Settings(threads=1, optimisation="off")


def naive(offered: Classes, data: Calibration) -> np.ndarray:
    """KL of every class: a model of its own for each, run on everything."""
    measure, scores = Distributions.of(data).divergence, []
    for each in np.eye(len(offered), dtype=bool):
        session = opened(offered.zeroed(each), SETTINGS)
        parts = [by_sample(session.run(feeds), feeds, at.stop - at.start) for feeds, at in data]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        scores.append(measure(outputs, np.arange(len(data))).mean())
    return np.array(scores)


@pytest.mark.parametrize("name", NETS)
def test_kl_is_that_of_the_naive_loop(name: str) -> None:
    model = NETS[name]()
    offered, data = classes(graph.analyse(model)), calibration(model, SETTINGS)
    scores = CRITERIA.get("kl")(offered, Context(data=data, settings=SETTINGS))
    expected = naive(offered, data)
    assert expected.max() > 1e-3  # it is about something
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETS)
def test_many_classes_at_once(name: str) -> None:
    """Classes of several families are zero together, differently in every row."""
    model = NETS[name]()
    offered, data = classes(graph.analyse(model)), calibration(model, SETTINGS)
    choices = np.random.default_rng(0).random((5, len(offered))) < 0.4
    found = MaskedModel(offered, data, SETTINGS).means(choices, [Distributions.of(data).divergence])[0]
    measure = Distributions.of(data).divergence
    for gone, mean in zip(choices, found, strict=True):
        session = opened(offered.zeroed(gone), SETTINGS)
        total = 0.0
        for feeds, at in data:
            outputs = by_sample(session.run(feeds), feeds, at.stop - at.start)
            total += measure(outputs, np.arange(at.start, at.stop)).sum()
        assert mean == pytest.approx(total / len(data), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["residual", "concat"])
def test_a_fixed_batch_is_filled_up(name: str) -> None:
    model = fixed(name, 4)
    offered, data = classes(graph.analyse(model)), calibration(model, SETTINGS, count=10)
    assert data.rows == [4, 4, 2]
    scores = CRITERIA.get("kl")(offered, Context(data=data, settings=SETTINGS))
    np.testing.assert_allclose(scores, naive(offered, data), atol=1e-5, rtol=1e-4)


def test_samples_that_are_sure_are_run_where_the_others_move(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sure("residual")
    offered, data = classes(graph.analyse(model)), calibration(model, SETTINGS, count=64)
    runs = []
    means = MaskedModel.means

    def counted(self: MaskedModel, choices: np.ndarray, *others: object) -> np.ndarray:
        runs.append((len(self.calibration), len(choices)))
        return means(self, choices, *others)

    monkeypatch.setattr(MaskedModel, "means", counted)
    scores = CRITERIA.get("kl")(offered, Context(data=data, settings=SETTINGS))
    small, large = sorted({samples for samples, _ in runs})
    assert small + large == 64
    np.testing.assert_allclose(scores, naive(offered, data), atol=1e-4)


def test_what_no_mask_reaches_is_not_run_again() -> None:
    offered = classes(graph.analyse(NETS["residual"]()))
    nodes = len(offered.offers[0].program.nodes)
    halves = [halve(offered, group) for group in alike(offered)]
    assert all(each is not None and each.shared for each in halves)
    assert min(len(each.nodes) for each in halves if each) < nodes / 2


def test_a_mask_waits_behind_the_activation() -> None:
    offered = classes(graph.analyse(NETS["depthwise"]()))
    (halves,) = [halve(offered, group) for group in alike(offered)]
    assert halves is not None and halves.exposed
    makers = {name: node.op_type for node in offered.offers[0].program.nodes for name in node.output}
    assert [makers[place.tensor] for place in halves.places] == ["Clip"]


def test_samples_that_see_each_other_are_not_mixed() -> None:
    """The mean over the batch comes back: rows may not have masks of their own, and scores are right."""
    model = NETS["batch-mean"]()
    offered, data = classes(graph.analyse(model)), calibration(model, SETTINGS)
    masked = MaskedModel(offered, data, SETTINGS)
    choices = np.eye(len(offered), dtype=bool)
    found = masked.means(choices, [Distributions.of(data).divergence])[0]
    assert masked.mixes is not False
    np.testing.assert_allclose(found, naive(offered, data), atol=1e-5, rtol=1e-4)


def test_halves_are_valid_models() -> None:
    for make in NETS.values():
        offered = classes(graph.analyse(make()))
        for group in alike(offered):
            halves = halve(offered, group)
            assert halves is not None
            head = halves.head()
            if head is not None:
                onnx.shape_inference.infer_shapes(head)
            types = {name: np.dtype(np.float32) for name in halves.boundary}
            onnx.checker.check_model(halves.tail(types))
