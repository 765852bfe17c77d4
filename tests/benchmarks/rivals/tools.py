"""The tools that take an ONNX file: each returns the parameters left, what the result computes, and the seconds.

Run as a program for one cell, so that a tool that crashes or hangs takes nothing else with it:
``python -m tests.benchmarks.rivals.tools TOOL FILE`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from tests.benchmarks.rivals.judge import Array, error, feed, parameters, run

Cell = dict[str, Any]
Result = tuple[int, list[Array], float]


def ours(path: Path) -> tuple[int, list[Array], float, str]:
    """Our `graph.shrink`, with what its certificate says about known channels that stayed."""
    import graph

    model = graph.load(path)
    start = time.perf_counter()
    slim, certificate = graph.shrink(model)
    seconds = time.perf_counter() - start
    kept: dict[str, int] = {}
    for entry in certificate.kept_zero:
        kept[entry.reason] = kept.get(entry.reason, 0) + entry.channels
    note = ", ".join(f"{count} {reason}" for reason, count in sorted(kept.items()))
    return parameters(slim), run(slim), seconds, note


def openvino(path: Path) -> Result:
    """OpenVINO's Pruning pass as its model optimiser calls it: with static shapes, after the common transformations."""
    import openvino as ov
    from openvino._offline_transformations import apply_moc_transformations, apply_pruning_transformation

    feeds = feed(onnx.load(path))
    core = ov.Core()
    model = core.read_model(path)
    start = time.perf_counter()
    model.reshape({name: list(x.shape) for name, x in feeds.items()})
    apply_moc_transformations(model, False)
    apply_pruning_transformation(model)
    seconds = time.perf_counter() - start
    left = 0
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_output_element_type(0).is_real():
            left += _elements(node)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(model, "CPU", exact)
    found = compiled(feeds)
    return left, [found[output] for output in compiled.outputs], seconds


def _elements(node: Any) -> int:
    count = 1
    for size in node.get_output_shape(0):
        count *= size
    return count


def onnxsim(path: Path) -> Result:
    """Structured pruning of onnxsim, asked for the half that is zero."""
    from onnxsim.pruning import apply_structured_pruning

    model = onnx.load(path)
    start = time.perf_counter()
    slim = apply_structured_pruning(model, sparsity=0.5)
    seconds = time.perf_counter() - start
    return parameters(slim), run(slim), seconds


TOOLS: dict[str, Callable[[Path], Any]] = {"ours": ours, "openvino": openvino, "onnxsim": onnxsim}


def first_line(problem: BaseException) -> str:
    """What failed, in one line; OpenVINO says first where in its source that was."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Exception from ")]
    return f"{type(problem).__name__}: {lines[0] if lines else ''}"[:160]


def cell(tool: str, path: Path) -> Cell:
    """One cell of a table: share of the parameters left, relative error, seconds; or what failed."""
    try:
        reference = run(path)
        left, outputs, seconds, *note = TOOLS[tool](path)
    except ModuleNotFoundError as problem:
        return {"failed": f"not installed ({problem.name})"}
    except Exception as problem:  # a cell that fails says so, and the others go on
        return {"failed": first_line(problem)}
    return {
        "left": left,
        "of": parameters(onnx.load(path)),
        "error": error(reference, outputs),
        "seconds": seconds,
        "note": note[0] if note else "",
    }


if __name__ == "__main__":
    print("\n" + json.dumps({name: cell(sys.argv[1], Path(name)) for name in sys.argv[2:]}))
