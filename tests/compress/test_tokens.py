"""Which tokens go, and what a transformer of torchvision is without them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from token_nets import Transformer
from torch import Tensor
from torchvision.models import VisionTransformer

from compress.progress import Silent
from compress.prune.calibration import fed
from compress.prune.masked import opened
from compress.tokens.choosing import Chooser
from compress.tokens.masking import MaskedTokens
from graph.export import export
from graph.program import read
from graph.rows.forecast import Forecast
from graph.rows.remove import remove, unpacked
from graph.rows.tokens import tokens
from graph.rows.trace import trace
from runtime import Settings

SETTINGS = Settings(threads=1)


def test_what_is_chosen_is_better_than_chance() -> None:
    found = trace(read(Transformer("apart", "mean", blocks=2).model()))
    stream = tokens(found)
    assert stream is not None
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((4, 3, 8, 8)).astype(np.float32)
    answers = MaskedTokens(found, fed(opened(found.program.model, SETTINGS), {"x": samples}, 4), SETTINGS)
    forecast = Forecast(unpacked(found.program.model, stream.keep(stream.nested())))
    chooser = Chooser(stream, forecast, answers.distance, Silent())
    chooser.to_work(0.7)
    assert forecast.left(chooser.keep) <= 0.7
    chance = [answers.distance(stream.keep(rng.permutation(chooser.depths))) for _ in range(10)]
    assert answers.distance(chooser.keep) < min(chance)


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
