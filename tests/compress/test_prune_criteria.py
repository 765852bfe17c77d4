"""Every criterion gives every class a score, and knows what matters least where that is plain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mask_nets import NETS, calibration
from onnx import ModelProto, numpy_helper

import graph
from compress.errors import UserError
from compress.progress import Silent
from compress.prune import CRITERIA, Context, divergence
from compress.prune.calibration import fed
from compress.prune.masked import opened
from compress.prune.selection import Selection, local, protected
from compress.prune.store import Store
from graph.candidates.classes import Classes, classes
from graph.candidates.forecast import Forecast
from graph.tracing.trace import name_of
from runtime import Settings

SETTINGS = Settings(threads=1)
WEAK = [2, 5]  # of the classes that the first convolution makes


def edited(model: ModelProto, names: tuple[str, ...], factor: float) -> ModelProto:
    """Rows of constants, smaller."""
    for tensor in model.graph.initializer:
        if tensor.name in names:
            array = numpy_helper.to_array(tensor).copy()
            array[WEAK] *= factor
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def made_by(offered: Classes, name: str) -> np.ndarray:
    (offer,) = offered.offers
    (maker,) = [each for each in offer.makers if name_of(offer.program, each.use) == name]
    return maker.classes


def context(model: ModelProto) -> Context:
    return Context(data=calibration(model, SETTINGS), settings=SETTINGS)


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"bn-scale", "taylor", "fisher"}))
@pytest.mark.parametrize("net", ["residual", "squeeze-excite", "tokens"])
def test_one_score_per_class(name: str, net: str) -> None:
    model = NETS[net]()
    offered = classes(graph.analyse(model))
    scores = CRITERIA.get(name)(offered, context(model))
    assert scores.shape == (len(offered),) and not np.isnan(scores).any()
    summed = np.isfinite(scores)  # `surgeon` knows nothing of what is multiplied with other activations
    assert summed.all() or (name == "surgeon" and summed.any())
    again = CRITERIA.get(name)(offered, context(model))
    np.testing.assert_array_equal(scores, again)


@pytest.mark.parametrize(
    "name", ["l1", "l2", "activation-mean", "activation-variance", "reconstruction", "kl", "output-error"]
)
def test_what_hardly_does_anything_comes_first(name: str) -> None:
    model = edited(NETS["depthwise"](), ("w0", "b0", "w1", "b1"), 1e-3)
    offered = classes(graph.analyse(model))
    scores = CRITERIA.get(name)(offered, context(model))
    assert set(np.argsort(scores)[:2]) == set(made_by(offered, "w0")[WEAK])


def test_the_geometric_median_is_what_the_others_can_replace() -> None:
    """Two equal filters are nearer to all others than these to each other, however large they are."""
    model = NETS["concat"]()
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    array = numpy_helper.to_array(weight).copy()
    array[:] = np.eye(6, 8)[:, :, None, None]
    array[WEAK] = array.mean(0)
    weight.CopyFrom(numpy_helper.from_array(array, "w2"))
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b2")
    bias.CopyFrom(numpy_helper.from_array(np.ones(6, np.float32), "b2"))
    offered = classes(graph.analyse(model))
    scores = CRITERIA.get("geometric-median")(offered, Context())
    own = made_by(offered, "w2")
    assert set(own[np.argsort(scores[own])[:2]]) == set(own[WEAK])


def test_bn_scale_reads_gamma_and_leaves_others_alone() -> None:
    model = NETS["concat"]()
    offered = classes(graph.analyse(model))
    scores = CRITERIA.get("bn-scale")(offered, Context())
    gamma = next(numpy_helper.to_array(each) for each in model.graph.initializer if each.name == "bg")
    own = made_by(offered, "bg")
    assert (own >= 0).any()
    np.testing.assert_allclose(scores[own[own >= 0]], gamma[own >= 0])
    others = np.setdiff1d(np.arange(len(offered)), own)
    assert others.size and np.isinf(scores[others]).all()


def test_bn_scale_without_any_is_an_error() -> None:
    offered = classes(graph.analyse(NETS["residual"]()))
    with pytest.raises(UserError, match="fold"):
        CRITERIA.get("bn-scale")(offered, Context())


@pytest.mark.parametrize("name", ["kl", "activation-mean", "reconstruction"])
def test_what_looks_at_data_asks_for_it(name: str) -> None:
    with pytest.raises(UserError, match="--data"):
        CRITERIA.get(name)(classes(graph.analyse(NETS["residual"]())), Context())


def test_scoring_goes_on_where_it_stopped(tmp_path) -> None:
    model = NETS["residual"]()
    offered = classes(graph.analyse(model))
    whole = CRITERIA.get("kl")(offered, context(model))

    class StoppedError(Exception):
        pass

    class Meter:
        done = 0

        def start(self, total: int, done: int = 0) -> None:
            self.before = done

        def update(self, n: int = 0, **figures: float) -> None:
            self.done += n
            if self.done > 8 and not self.before:
                raise StoppedError

        def stop(self) -> None:
            pass

    path = tmp_path / "scores.json"
    first, second = Meter(), Meter()
    with pytest.raises(StoppedError):
        CRITERIA.get("kl")(offered, Context(data=calibration(model, SETTINGS), store=Store(path), progress=first))
    scores = CRITERIA.get("kl")(
        offered, Context(data=calibration(model, SETTINGS), settings=SETTINGS, store=Store(path), progress=second)
    )
    assert 0 < first.done == second.before < len(offered) == second.before + second.done
    np.testing.assert_allclose(scores, whole, atol=1e-6)
    other = Context(data=calibration(model, SETTINGS, seed=9), settings=SETTINGS, store=Store(path))
    assert not np.allclose(CRITERIA.get("kl")(offered, other), whole)  # other samples, other scores


def test_large_networks_give_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more a class costs, the fewer are scored between two updates, with the same scores."""
    model = NETS["residual"]()
    offered = classes(graph.analyse(model))
    whole = CRITERIA.get("kl")(offered, context(model))
    steps = []

    class Meter(Silent):
        def update(self, n: int = 0, **figures: float) -> None:
            steps.append(n)

    monkeypatch.setattr(divergence, "WORK", 1.0)
    scores = CRITERIA.get("kl")(offered, replace(context(model), progress=Meter()))
    assert steps == [1] * len(offered)
    np.testing.assert_allclose(scores, whole, rtol=1e-5, atol=1e-7)


def test_a_foreign_file_is_no_store(tmp_path) -> None:
    path = tmp_path / "scores.json"
    for text in ("[]", "no json", '{"scores": {"a": ["b"]}}'):
        path.write_text(text)
        with pytest.raises(UserError, match="holds no scores"):
            Store(path)


def test_samples_with_nan_are_named() -> None:
    model = NETS["residual"]()
    x = np.zeros((5, 3, 8, 8), np.float32)
    x[3, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match="sample 3 of 'x'"):
        fed(opened(model, SETTINGS), {"x": x}, 5)


def test_protected_tensors_keep_all_channels() -> None:
    offered = classes(graph.analyse(NETS["residual"]()))
    kept = protected(offered, ["w1"])
    own = np.union1d(made_by(offered, "w1"), made_by(offered, "w0"))  # its outputs, and its inputs
    assert set(np.flatnonzero(kept)) == set(own)
    with pytest.raises(UserError, match="did you mean 'w1'"):
        protected(offered, ["w_1"])


@pytest.mark.parametrize("align", [1, 2, 4])
def test_alignment_keeps_multiples(align: int) -> None:
    offered = classes(graph.analyse(NETS["residual"]()))
    selection = Selection(offered, np.random.default_rng(0).random(len(offered)), 0.0, align)
    sizes = np.bincount(offered.family)
    for count in range(selection.most + 1):
        gone = selection.weakest(count)
        left = np.bincount(offered.family[~gone], minlength=sizes.size)
        assert all(each % align == 0 or each == size for each, size in zip(left, sizes, strict=True))
        if align == 1:
            assert gone.sum() == count


def test_local_ranks_take_equal_shares() -> None:
    offered = classes(graph.analyse(NETS["residual"]()))
    scores = offered.family + np.random.default_rng(0).random(len(offered))  # one family after the other
    selection = Selection(offered, local(scores, offered), 0.0)
    gone = selection.weakest(round(0.5 * len(offered)))
    shares = np.bincount(offered.family[gone], minlength=offered.family.max() + 1) / np.bincount(offered.family)
    assert (abs(shares - 0.5) <= 0.26).all()


@pytest.mark.parametrize("net", NETS)
def test_costs_are_those_of_a_class_alone(net: str) -> None:
    offered = classes(graph.analyse(NETS[net]()))
    forecast = Forecast(offered)
    parameters, work = forecast.costs()
    for place in range(len(offered)):
        size = forecast.without(np.arange(len(offered)) == place)
        assert parameters[place] == forecast.full.parameters - size.parameters
        assert work[place] == forecast.full.macs - size.macs
