"""Measure one network: ``python -m tests.benchmarks.zoo.one NAME [FOLDER]`` prints one JSON object.

The network is taken from FOLDER if it is there, else it is made and put there.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

import graph
from graph.candidates.classes import classes
from tests.benchmarks.rivals.judge import error
from tests.benchmarks.zoo.zeroing import random_share, removable_share, stay

Row = dict[str, Any]

SHARE = 0.5


def measure(model: ModelProto, folder: Path) -> Row:
    """Zero half of the offered classes at random, shrink, compare. Files are left in ``folder``."""
    analysis = graph.analyse(model)
    found = classes(analysis)
    chosen = random_share(found, SHARE, seed=0)
    zeroed = found.zeroed(chosen)
    row: Row = {
        "classes": len(found),
        "zeroed": int(chosen.sum()),
        "removable": removable_share(analysis),
    }
    wide, thin = folder / "wide.onnx", folder / "thin.onnx"
    graph.save(zeroed, wide)
    del analysis, zeroed  # models may be large, and ONNX Runtime needs room, too
    start = time.perf_counter()
    slim, certificate = graph.shrink(graph.load(wide))
    graph.save(slim, thin)
    row["seconds"] = time.perf_counter() - start
    last = sum(entry.channels for entry in certificate.kept_zero if entry.reason == "last")
    row |= {"parameters": certificate.input.parameters, "left": certificate.output.parameters}
    row["stay"] = max(0, stay(slim) - last)
    row["kept"] = {f"{entry.reason} {entry.op}": entry.channels for entry in certificate.kept_zero}
    del slim
    return row | {"error": error(run(wide), run(thin))}


def run(path: Path) -> list[NDArray[np.float32]]:
    """Outputs for a batch of two standard normal inputs, with all graph optimisations off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feeds = {
        value.name: rng.standard_normal([size if isinstance(size, int) else 2 for size in value.shape]).astype(
            np.float32
        )
        for value in session.get_inputs()
    }
    outputs: list[NDArray[np.float32]] = session.run(None, feeds)
    return outputs


def network(name: str, folder: Path) -> ModelProto:
    """The network as ONNX, from ``folder`` if it is there."""
    path = folder / f"{name}.onnx"
    if path.exists():
        return graph.load(path)
    from tests.benchmarks.zoo.prepare import prepare  # torch, which takes its time

    model = prepare(name)
    graph.save(model, path)
    return model


def main(name: str, kept: str | None = None) -> None:
    """Print the row of a network."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print("\n" + json.dumps(measure(network(name, Path(kept) if kept else folder), folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
