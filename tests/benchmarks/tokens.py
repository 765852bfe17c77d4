"""Fewer tokens: accuracy against work on a trained transformer.

``python -m tests.benchmarks.tokens SHARED DATA`` with the folders of third-party files and of the data sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto

from compress.progress import Silent
from compress.prune.calibration import fed
from compress.prune.masked import opened
from compress.tokens.choosing import Chooser
from compress.tokens.masking import MaskedTokens
from graph.model.reader import read
from graph.rows.facts import RowTrace
from graph.rows.forecast import Forecast
from graph.rows.masks import masked
from graph.rows.needs import Keep
from graph.rows.remove import remove, unpacked
from graph.rows.tokens import Depths, Tokens, tokens
from graph.rows.trace import trace
from runtime import Settings
from tests.benchmarks.post_training.field import Network, network
from tests.benchmarks.rivals.report import insert, setting, table

PAGE = Path("docs/results/tokens.md")
FRACTIONS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
DRAWS, SAMPLES = 3, 32  # as many as `compress tokens` looks at
LOOKED_AT = 4_000  # test images by which the defaults of the choice were set: others judge
ONE = Settings(threads=1)


def by_products(found: RowTrace, stream: Tokens, counts: list[int], images: NDArray[np.float32]) -> Keep:
    """As many tokens per level, chosen by Patch Slimming's score: from the top, products of attention maps.

    ``G <- mean_h P_h^T G P_h`` over the blocks above, and ``G_ii mean_h |U_h[i]|^2`` with what the block below makes of
    token i; means over images. For a network that averages its tokens G starts with all of them.
    """
    nodes, copy = found.program.nodes, masked(found)
    maps, made = {}, {}
    for mixer, index in found.sums.items():
        weights = (name for name in nodes[index].input if any(rows.mixer == mixer for _, rows in found.places(name)))
        maps[mixer], made[mixer] = next(weights), nodes[index].output[0]
    copy.model.graph.output.extend(ValueInfoProto(name=name) for name in [*maps.values(), *made.values()])
    outputs = opened(copy.model, ONE).run({found.program.inputs[0]: images, **copy.feeds({})})
    order = sorted(found.mixers)
    depths: Depths = np.zeros(stream.rows.size, np.int64)
    above, carried = np.ones(stream.rows.size, np.bool_), np.eye(stream.rows.size)
    for level in reversed(range(len(stream.levels))):
        mixer, below = order[level + 1], order[level]
        if mixer in maps:
            weights = outputs[maps[mixer]].mean(0) * above[:, None]
            carried = np.mean([each.T @ carried @ each for each in weights], 0)
        energy = np.square(outputs[made[below]]).sum(-1).mean((0, 1))
        score = np.where(above & (level + 1 < len(stream.levels)), np.inf, np.diag(carried) * energy)
        above = np.isin(np.arange(score.size), np.argsort(-score)[: counts[level]])
        depths[above] = np.maximum(depths[above], level + 1)
    return stream.keep(depths)


def accuracies(net: Network, seed: int) -> Iterator[list[float]]:
    """On the test images, with fewer and fewer MACs: MACs, KL, accuracies by way to choose, tokens per level."""
    found = trace(read(net.model))
    stream = tokens(found)
    assert stream is not None
    name, rng = found.program.inputs[0], np.random.default_rng(seed)
    images = np.concatenate([feeds[name] for feeds in net.feeds(seed)])[:SAMPLES]
    answers = MaskedTokens(found, fed(opened(net.model, ONE), {name: images}, SAMPLES), ONE)
    apart = unpacked(net.model, stream.keep(stream.nested()))
    chooser = Chooser(stream, Forecast(apart), lambda depths: answers.distance(stream.keep(depths)), Silent())
    for fraction in FRACTIONS:
        chooser.to_work(fraction)
        counts = [int(kept.sum()) for kept in chooser.keep.values()]
        chance = [stream.keep(rng.permutation(chooser.depths)) for _ in range(DRAWS)]
        keeps = [chooser.keep, by_products(found, stream, counts, images), *chance]
        ours, products, *random = [net.accuracy(remove(net.model, keep)) for keep in keeps]
        far = answers.distance(chooser.keep)
        yield [chooser.left, far, ours, products, float(np.mean(random)), *counts]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tokens", description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    net = network("vit_cifar10_ibp_3_3_8", options.shared, options.data)
    net = replace(net, test=net.test.subset(np.arange(LOOKED_AT, len(net.test))))
    rows = [["1.00", "17, 17, 17", "0", f"{net.accuracy(net.model):.2f}", "", ""]]
    for figures in zip(*(accuracies(net, seed) for seed in range(options.seeds)), strict=True):
        left, far, *percent = np.mean([each[:5] for each in figures], 0)
        kept = " / ".join(", ".join(map(str, each[5:])) for each in figures)
        rows.append([f"{left:.2f}", kept, f"{far:.3f}", *(f"{each:.2f}" for each in percent)])
        print(rows[-1], flush=True)
    head = ["MACs", "tokens after the first block", "KL", "accuracy", "products of attention", "at random"]
    insert(options.page, f"{table(head, rows)}\nSeeds: {options.seeds}. {setting()}")


if __name__ == "__main__":
    main()
