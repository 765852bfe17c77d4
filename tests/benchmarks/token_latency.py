"""Fewer tokens of a large transformer: work, time and agreement.

``python -m tests.benchmarks.token_latency`` takes torchvision's vit_b_16 with random weights, and tokens by chance.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torchvision.models import vit_b_16

import graph
from compress.prune.masked import opened
from graph.counts import size
from graph.export import export
from graph.model.reader import read
from graph.rows.forecast import Forecast
from graph.rows.masks import masked
from graph.rows.needs import Keep
from graph.rows.remove import remove, unpacked
from graph.rows.tokens import Tokens, tokens
from graph.rows.trace import trace
from runtime import Session, Settings, compare, open_session, random_feeds
from tests.benchmarks.rivals.report import insert, setting, table

PAGE = Path("docs/results/token-latency.md")
FRACTIONS = (1.0, 0.7, 0.5)


def drawn(stream: Tokens, forecast: Forecast, fraction: float) -> Keep:
    """Tokens at random, in equal ratios from level to level, so many that this fraction of the MACs is left."""
    order = np.argsort(np.random.default_rng(0).permutation(stream.rows.size) - stream.least * stream.rows.size)
    for ratio in np.arange(1, 0, -0.002):
        counts = np.maximum(np.round(stream.rows.size * ratio ** np.arange(1, len(stream.levels) + 1)), 1)
        depths = np.zeros(stream.rows.size, np.int64)
        depths[order] = (np.arange(stream.rows.size)[:, None] < counts).sum(1)
        keep = stream.keep(np.maximum(depths, stream.least))
        if forecast.left(keep) <= fraction:
            return keep
    raise ValueError(fraction)


def cpu_times(sessions: list[Session], rounds: int) -> list[float]:
    """Median seconds of the processor for one inference, in turns: other work on the machine does not count."""
    feeds = random_feeds(sessions[0], batch=1)
    times = np.zeros((rounds + 1, len(sessions)))
    for row in times:
        for place, session in enumerate(sessions):
            start = process_time()
            session.run(feeds)
            row[place] = process_time() - start
    return np.median(times[1:], 0).tolist()  # without the warm-up


def latencies(folder: Path, rounds: int) -> str:
    """MACs, time and agreement of vit_b_16 at 224x224 with random weights; tokens are drawn."""
    torch.manual_seed(0)
    net = vit_b_16()
    torch.nn.init.normal_(net.heads[0].weight)  # which torchvision leaves at zero
    model = export(net, torch.zeros(2, 3, 224, 224), name="vit_b_16")
    whole, slim = folder / "whole.onnx", folder / "slim.onnx"
    graph.save(model, whole)
    found = trace(read(model))
    stream = tokens(found)
    assert stream is not None
    forecast = Forecast(unpacked(model, stream.keep(stream.nested())))
    off, rows = Settings(threads=1, optimisation="off"), []
    for fraction in FRACTIONS:
        keep = drawn(stream, forecast, fraction) if fraction < 1 else {}
        graph.save(remove(model, keep), slim)
        reference = opened(masked(found).fixed(keep), off)
        parity = compare(reference, open_session(slim, off), [random_feeds(reference)])
        left = size(read(graph.load(slim))).macs / size(found.program).macs
        counts = [int(keep.get(level.name, np.ones(197)).sum()) for level in stream.levels]
        fast, slow = cpu_times([open_session(path, Settings(threads=1)) for path in (slim, whole)], rounds)
        told = f"{counts[0]}, {counts[1]}, ... {counts[-1]}"
        rows.append([f"{left:.3f}", told, f"{fast / slow:.2f}", f"{parity.max_rel:.0e}"])
        print(rows[-1], flush=True)
    return table(["MACs", "tokens from the second block on", "CPU time, batch 1", "largest difference"], rows)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.token_latency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        insert(options.page, f"{latencies(Path(folder), options.rounds)}\n{setting()}")


if __name__ == "__main__":
    main()
