"""Which tokens go, and what a transformer of torchvision is without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from token_nets import Transformer
from torch import Tensor
from torchvision.models import VisionTransformer

from compress.progress import Silent
from compress.prune.calibration import fed
from compress.prune.masked import opened
from compress.prune.store import Store
from compress.tokens.choosing import Chooser
from compress.tokens.masking import MaskedTokens
from graph.export import export
from graph.model.reader import read
from graph.rows.facts import Mixer
from graph.rows.forecast import Forecast
from graph.rows.needs import Keep
from graph.rows.remove import remove, unpacked
from graph.rows.tokens import Depths, Tokens, tokens
from graph.rows.trace import trace
from runtime import Session, Settings

SETTINGS = Settings(threads=1)


def test_what_is_chosen_is_better_than_chance() -> None:
    found = trace(read(Transformer("apart", "mean", blocks=2).model()))
    stream = tokens(found)
    assert stream is not None
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((4, 3, 8, 8)).astype(np.float32)
    answers = MaskedTokens(found, fed(opened(found.program.model, SETTINGS), {"x": samples}, 4), SETTINGS)
    forecast = Forecast(unpacked(found.program.model, stream.keep(stream.nested())))
    chooser = Chooser(stream, forecast, lambda depths: answers.distance(stream.keep(depths)), Silent())
    chooser.to_work(0.7)
    assert forecast.left(chooser.keep) <= 0.7
    chance = [answers.distance(stream.keep(rng.permutation(chooser.depths))) for _ in range(10)]
    assert answers.distance(chooser.keep) < min(chance)


class Share(Forecast):
    """All levels are as much work."""

    def __init__(self) -> None:
        pass

    def left(self, keep: Keep) -> float:
        return float(np.mean(list(keep.values())))


@pytest.mark.parametrize(("count", "levels"), [(17, 3), (197, 11)])
@pytest.mark.parametrize("budget", ["work", "error"])
def test_a_choice_takes_few_looks(count: int, levels: int, budget: str) -> None:
    rows, rng = np.arange(count), np.random.default_rng(0)
    least = np.where(rows == 0, levels, 0)
    stream = Tokens(rows, [Mixer(level, f"level{level}", "", 1, rows) for level in range(levels)], least)
    costs = rng.random(count) ** 3
    seen: list[Depths] = []

    def distance(depths: Depths) -> float:
        seen.append(depths)
        return float((costs * (levels - depths)).sum())

    chooser = Chooser(stream, Share(), distance, Silent())
    if budget == "work":
        chooser.to_work(0.6)
        assert 0.55 < chooser.left <= 0.6
    else:
        chooser.to_error(0.1 * distance(least))
        assert chooser.far <= 0.1 * distance(least)
        assert chooser.left < 0.9
    assert chooser.depths[0] == levels
    assert len(seen) < 120
    gone = levels - chooser.depths
    assert chooser.far == pytest.approx((costs * gone).sum())
    assert chooser.far < 0.95 * costs.mean() * gone.sum()  # which chance would cost


def test_what_was_looked_at_is_remembered(tmp_path: Path) -> None:
    found = trace(read(Transformer("apart", "class", blocks=2).model()))
    stream = tokens(found)
    assert stream is not None
    samples = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    data = fed(opened(found.program.model, SETTINGS), {"x": samples}, 4)
    keeps = [stream.keep(depths) for depths in (stream.nested(), stream.fewest())]
    before = MaskedTokens(found, data, SETTINGS, Store(tmp_path / "scores.json"))
    first = before.distance(keeps[0])
    after = MaskedTokens(found, data, SETTINGS, Store(tmp_path / "scores.json"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "run", None)
        assert after.distance(keeps[0]) == first
    assert after.distance(keeps[1]) != first


def by_definition(net: VisionTransformer, images: Tensor, kept: list[NDArray[np.int64]]) -> Tensor:
    """Every block makes queries of the tokens that it passes on, and keys and values of all that it gets."""
    stream = net._process_input(images)
    stream = torch.cat([net.class_token.expand(len(images), -1, -1), stream], 1) + net.encoder.pos_embedding
    there = np.arange(stream.shape[1])
    for block, stay in zip(net.encoder.layers, [*kept, np.array([0])], strict=True):
        rows = torch.from_numpy(np.searchsorted(there, stay))
        seen = block.ln_1(stream)
        mixed, _ = block.self_attention(seen[:, rows], seen, seen, need_weights=False)
        between = stream[:, rows] + mixed
        stream, there = between + block.mlp(block.ln_2(between)), stay
    return net.heads(net.encoder.ln(stream)[:, 0])


def test_torchvision() -> None:
    torch.manual_seed(0)
    net = VisionTransformer(16, 4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(3, 3, 16, 16)
    model = export(net, images[:2], name="vit")
    stream = tokens(trace(read(model)))
    assert stream is not None
    some = np.array([0, 2, 3, 7, 11, 16])
    for kept in (np.arange(17), some):
        keep = {stream.levels[0].name: np.isin(np.arange(17), kept)}
        found = opened(remove(model, keep), SETTINGS).run({"input": images.numpy()})["output"]
        with torch.no_grad():
            np.testing.assert_allclose(found, by_definition(net, images, [kept]).numpy(), rtol=1e-4, atol=1e-5)
