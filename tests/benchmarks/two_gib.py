"""A model over 2 GiB, where protobuf stops: ``python -m tests.benchmarks.two_gib [--folder DIR]``.

Writes models of several sizes with external data, half of whose channels are zero, and shrinks each in a process of its
own. Time and memory should grow as the file does. Needs 6 GB on the disk and 8 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

import graph
from tests.benchmarks.speed import resident

WIDTH = 4096  # 64 MiB for a layer
LAYERS = (9, 18, 36)  # 0.6, 1.2 and 2.4 GB


def write(path: Path, layers: int) -> None:
    """A chain of MatMul and Relu, one weight in memory at a time."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    data = path.with_suffix(".data")
    with data.open("wb") as file:
        for layer in range(layers):
            array = rng.standard_normal((WIDTH, WIDTH), np.float32) / WIDTH**0.5
            if layer < layers - 1:
                array[:, rng.permutation(WIDTH)[: WIDTH // 2]] = 0
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=array.shape, raw_data=b"")
            set_external_data(tensor, data.name, file.tell(), array.nbytes)
            tensor.ClearField("raw_data")
            file.write(array.tobytes())
            weights.append(tensor)
            nodes.append(helper.make_node("MatMul", [f"x{layer}", tensor.name], [f"y{layer}"]))
            nodes.append(helper.make_node("Relu", [f"y{layer}"], [f"x{layer + 1}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("x0", f"x{layers}")]
    body = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = helper.make_model(body, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    path.write_bytes(model.SerializeToString())


def measure(source: Path, target: Path) -> dict[str, float]:
    """Seconds and gigabytes of shrinking one file in this process."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before, start = resident("VmRSS"), time.perf_counter()
    slim, certificate = graph.shrink(graph.load(source))
    graph.save(slim, target)
    seconds, used = time.perf_counter() - start, resident("VmHWM") - before
    onnx.checker.check_model(target)
    left = certificate.output.parameters / certificate.input.parameters
    return {"seconds": seconds, "peak": used / 1e9, "left": left}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.two_gib", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the models are written; they are deleted")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    print("| GB | seconds | s / GB | peak memory, GB | / file | parameters left |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "slim", "slim.onnx")
        for layers in LAYERS:
            write(source, layers)
            command = [sys.executable, "-m", "tests.benchmarks.two_gib", "--measure", str(source), str(target)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            size = source.with_suffix(".data").stat().st_size / 1e9
            print(
                f"| {size:.2f} | {found['seconds']:.1f} | {found['seconds'] / size:.1f} | {found['peak']:.2f}"
                f" | {found['peak'] / size:.2f} | {found['left']:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
