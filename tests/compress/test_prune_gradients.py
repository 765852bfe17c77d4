"""Scores from gradients are those of the weights behind each class, where model and module belong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.nn import functional as F

import graph
from compress.data import Spec
from compress.errors import UserError
from compress.prune import CRITERIA, Context
from compress.prune.calibration import Calibration, fed
from compress.prune.masked import opened
from compress.prune.trained import Trained
from compress.tasks import task_of
from graph.candidates.classes import classes
from graph.export import export
from graph.tracing.trace import name_of
from runtime import Settings

ONE = Settings(threads=1)
SPEC = Spec("images", (3, 8, 8), 5, tuple("abcde"), (0.0,) * 3, (1.0,) * 3)
SAMPLES = 70  # more than one batch


class Net(nn.Module):
    """A residual block, of which the shortcut is a convolution, and a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.outer = nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(8, 7, 1)
        self.side, self.hidden, self.last = nn.Conv2d(6, 7, 1), nn.Linear(7, 9), nn.Linear(9, 5)
        nn.init.uniform_(self.norm.running_mean)
        nn.init.uniform_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.outer(F.relu(self.inner(x))) + self.side(x))
        return self.last(F.relu(self.hidden(x.mean((2, 3)))))


@pytest.fixture(scope="module")
def pair() -> tuple[Net, ModelProto]:
    torch.manual_seed(0)
    net = Net().eval()
    return net, export(net, torch.zeros(2, 3, 8, 8), name="net")


def samples(model: ModelProto, labels: np.ndarray | None = None) -> Calibration:
    images = np.random.default_rng(0).normal(size=(SAMPLES, 3, 8, 8)).astype(np.float32)
    data = fed(opened(model, ONE), {"input": images}, SAMPLES)
    numbers = np.arange(SAMPLES) % 5 if labels is None else labels
    return Calibration(data.batches, data.rows, data.answers, numbers)


def context(net: nn.Module, data: Calibration) -> Context:
    return Context(data=data, trained=Trained(net, task_of(SPEC), "net"), settings=ONE)


def products(net: Net, data: Calibration, layer: nn.Module) -> np.ndarray:
    """Per sample and filter, sum w g over its weights and bias, [samples, filters]."""
    found = []
    images = torch.from_numpy(np.concatenate([feeds["input"] for feeds in data.batches]))
    parameters = [layer.weight.requires_grad_(), layer.bias.requires_grad_()]
    for image, label in zip(images, torch.from_numpy(data.labels), strict=True):
        slopes = torch.autograd.grad(F.cross_entropy(net(image[None]), label[None]), parameters)
        found.append(sum((p * g).reshape(len(p), -1).sum(1) for p, g in zip(parameters, slopes, strict=True)))
    return torch.stack(found).detach().numpy()


@pytest.mark.parametrize("name, tensor", [("inner", "inner.weight"), ("hidden", "hidden.weight")])
def test_scores_are_products_of_weights_and_gradients(name: str, tensor: str, pair: tuple[Net, ModelProto]) -> None:
    net, model = pair
    data, offered = samples(model), classes(graph.analyse(model))
    (offer,) = offered.offers
    (maker,) = [each for each in offer.makers if name_of(offer.program, each.use) == tensor]
    changes = products(net, data, getattr(net, name))
    for criterion, expected in (("taylor", changes.mean(0) ** 2), ("fisher", (changes**2).mean(0) / 2)):
        scores = CRITERIA.get(criterion)(offered, context(net, data))
        np.testing.assert_allclose(scores[maker.classes], expected, rtol=1e-3, atol=1e-9)
        assert np.isfinite(scores).all()


def test_a_folded_normalisation_and_a_stream_count_as_a_whole(pair: tuple[Net, ModelProto]) -> None:
    net, model = pair
    data, offered = samples(model), classes(graph.analyse(model))
    scores = CRITERIA.get("taylor")(offered, context(net, data))
    (offer,) = offered.offers
    for tensor, layers in (("stem", [net.norm]), ("outer", [net.outer, net.side])):
        changes = sum(products(net, data, layer) for layer in layers)
        own = next(m.classes for m in offer.makers if tensor in name_of(offer.program, m.use))
        np.testing.assert_allclose(scores[own], changes.mean(0) ** 2, rtol=1e-3, atol=1e-9)


def test_what_does_not_belong_together_is_refused(pair: tuple[Net, ModelProto]) -> None:
    net, model = pair
    offered, data = classes(graph.analyse(model)), samples(model)
    score = CRITERIA.get("taylor")
    with pytest.raises(UserError, match="do not belong together"):
        score(offered, context(Net(), data))
    with pytest.raises(UserError, match="do not belong together"):
        score(offered, context(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), data))
    with pytest.raises(UserError, match="labels up to 9, and the model has 5 classes"):
        score(offered, context(net, samples(model, np.arange(SAMPLES) % 10)))
    with pytest.raises(UserError, match="--init"):
        score(offered, Context(data=data, settings=ONE))


def test_what_another_operator_reads_too_has_no_score(pair: tuple[Net, ModelProto]) -> None:
    """A product with a bare parameter is no layer: its classes stay, the others are scored."""

    class Bare(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.inner(F.relu(self.norm(self.stem(x)))))
            return F.relu(self.hidden(self.outer(x).mean((2, 3)))) @ self.last.weight.T

    torch.manual_seed(0)
    net = Bare().eval()
    model = export(net, torch.zeros(2, 3, 8, 8), name="net")
    offered = classes(graph.analyse(model))
    scores = CRITERIA.get("taylor")(offered, context(net, samples(model)))
    (offer,) = offered.offers
    (hidden,) = [m.classes for m in offer.makers if name_of(offer.program, m.use) == "hidden.weight"]
    assert np.isinf(scores[hidden]).all() and np.isfinite(np.delete(scores, hidden)).all()


def test_rounds_take_the_zeros_of_the_file(pair: tuple[Net, ModelProto]) -> None:
    """Scores of a pruned file are those of a module with the same zeros."""
    _, model = pair
    data, offered = samples(model), classes(graph.analyse(model))
    gone = offered.weakest(np.random.default_rng(0).random(len(offered)), len(offered) // 3)
    pruned = classes(graph.analyse(offered.zeroed(gone)))
    torch.manual_seed(1)
    found = context(Net().eval(), data)
    found.trained.take(pruned.analysis.program.model)
    scores = CRITERIA.get("fisher")(pruned, found)
    assert np.allclose(scores[gone], 0) and (scores[~gone] > 0).mean() > 0.5
    with pytest.raises(UserError, match="do not belong together"):
        CRITERIA.get("fisher")(offered, found)
    with pytest.raises(UserError, match="does not fit model net"):
        Trained(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), task_of(SPEC), "net").take(model)
