"""Prune networks that are trained already, repair them without labels, compare with others, and train them further.

``python -m tests.benchmarks.post_training --data DIR --shared DIR`` writes docs/results/post-training.md. Every row is
kept in --folder as soon as it is measured, and not measured again.
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.post_training import peers
from tests.benchmarks.post_training.field import FIELD, Network, network, onnx_of, resnet56
from tests.benchmarks.post_training.ours import Pruner
from tests.benchmarks.post_training.recovery import WAYS, recovery_table
from tests.benchmarks.post_training.rows import Row, Rows
from tests.benchmarks.rivals.report import insert, setting, table

ROOT = Path(__file__).parents[3]
FACTORS = [1.5, 2.0]
FIELD_FACTORS = [1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.6, 1.75, 2.0]
SEEDS = [0, 1, 2]
DROP = 1.0  # percentage points that a field file may lose


def ours(rows: Rows, net: Network, seed: int, factors: list[float], repaired: bool = True) -> Iterator[Row]:
    """Our rows, each when it is asked for."""
    pruner: Pruner | None = None
    weighing = 0.0
    for factor in factors:
        name = f"{net.name}-ours{'' if repaired else '-unrepaired'}-{factor}-{seed}"
        row = rows.get(name)
        if row is None:
            start = time.process_time()
            if pruner is None:
                pruner = Pruner(net.model, net.feeds(seed), inner=net.name not in FIELD)
                weighing = time.process_time() - start
                start = time.process_time()
            model = pruner.pruned(factor, repaired)
            row = rows.measure(name, net, model, weighing + time.process_time() - start)
        yield row


def torch_pruning(rows: Rows, net: Network, shared: Path, criterion: str) -> dict[str, list[Row]]:
    """As pruned, and with BatchNorm statistics re-estimated."""
    ways: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
        "as pruned": lambda module: module,
        "re-estimated": lambda module: peers.reestimated(module, net),
    }
    names = {(way, factor): f"{net.name}-tp-{criterion}-{way}-{factor}" for way in ways for factor in FACTORS}
    if any(rows.get(name) is None for name in names.values()):
        modules, seconds = peers.torch_pruning(resnet56(shared), net, criterion, FACTORS), 0.0
        for factor in FACTORS:
            start = time.process_time()
            module = next(modules)
            seconds += time.process_time() - start
            for way, change in ways.items():
                rows.measure(names[way, factor], net, onnx_of(change(module)), seconds)
    return {way: [rows.get(names[way, factor]) or {} for factor in FACTORS] for way in ways}


def onnxsim(rows: Rows, net: Network) -> list[Row]:
    """Wanda's rows."""
    found = []
    for factor in FACTORS:
        row = rows.get(name := f"{net.name}-onnxsim-{factor}")
        if row is None:
            start = time.process_time()
            model = peers.onnxsim_wanda(net, factor)
            row = rows.measure(name, net, model, time.process_time() - start)
        found.append(row)
    return found


def original(rows: Rows, net: Network) -> Row:
    """The network as it came."""
    return rows.get(f"{net.name}-original") or rows.measure(f"{net.name}-original", net, net.model, 0)


def cell(full: Row, found: list[Row]) -> str:
    """Accuracy (spread over seeds), factor, seconds."""
    accuracies = [row["accuracy"] for row in found]
    spread = f" ({min(accuracies):.2f} to {max(accuracies):.2f})" if len(found) > 1 else ""
    factor = np.mean([full["macs"] / row["macs"] for row in found])
    return f"{np.mean(accuracies):.2f}{spread} at {factor:.2f}x, {np.mean([row['seconds'] for row in found]):.0f} s"


def resnet_table(rows: Rows, net: Network, shared: Path) -> str:
    """Everybody on ResNet-56."""
    full = original(rows, net)
    head = ["ResNet-56, CIFAR-10", *(f"{factor}x fewer MACs" for factor in FACTORS)]
    seeds = [list(ours(rows, net, seed, FACTORS)) for seed in SEEDS]
    lines = [["**onnx-compress**: importance, repair", *(cell(full, list(each)) for each in zip(*seeds, strict=True))]]
    plain = list(ours(rows, net, 0, FACTORS, repaired=False))
    lines.append(["onnx-compress: the same channels, no repair", *(cell(full, [row]) for row in plain)])
    for criterion, name in (("l2", "L2"), ("taylor", "Taylor, labelled images")):
        for way, found in torch_pruning(rows, net, shared, criterion).items():
            lines.append([f"Torch-Pruning {name}, iterative, {way}", *(cell(full, [row]) for row in found)])
    lines.append(["onnxsim Wanda", *(cell(full, [row]) for row in onnxsim(rows, net))])
    return f"Original: {full['accuracy']:.2f} %, {full['macs'] / 1e6:.1f} million MACs.\n\n" + table(head, lines)


def field_table(rows: Rows, nets: list[Network]) -> str:
    """The largest factor at which a field file loses no more than `DROP`, each factor in turn until one loses more."""
    lines = []
    for net in nets:
        full = original(rows, net)
        cells = []
        for row in ours(rows, net, 0, FIELD_FACTORS):
            cells.append(cell(full, [row]))
            if full["accuracy"] - row["accuracy"] > DROP:
                break
        lines.append([net.name, f"{full['accuracy']:.2f}, {full['macs'] / 1e6:.1f} million MACs", "; ".join(cells)])
    return table(["file", "original", "accuracy at factor, seconds; until it loses more than 1 point"], lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.post_training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar-10-batches-py")
    parser.add_argument("--shared", type=Path, required=True, help="folder with checkpoints/ and onnx/")
    parser.add_argument("--folder", type=Path, required=True, help="where rows are kept")
    parser.add_argument(
        "--ways", nargs="*", choices=WAYS, default=list(WAYS), help="trainings in the table; default all"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.folder)
    net = network("resnet56", options.shared, options.data)
    text = f"{datetime.date.today()}, {setting()}.\n\n{resnet_table(rows, net, options.shared)}\n"
    text += recovery_table(rows, net, options.data, options.ways, original(rows, net)) + "\n"
    text += field_table(rows, [network(name, options.shared, options.data) for name in FIELD])
    print(text)
    insert(ROOT / "docs" / "results" / "post-training.md", text)


if __name__ == "__main__":
    main()
