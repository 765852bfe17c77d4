"""What shrinking costs beside reading and writing: ``python -m tests.benchmarks.speed MODEL.onnx ...``.

Per model: load + shrink + save over onnx.load + onnx.save of the same file, in turns, as the median of the ratios with
the smallest and the largest one; then the peak of the memory that a process of its own takes for it, in units of the
file (on Linux). Models as in ``compress export torchvision:resnet50 --random-init -o resnet50.onnx``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx

import graph


def seconds(work: Callable[[], None]) -> float:
    """Time of the processor that ``work`` takes: what else the machine does is not counted."""
    start = time.process_time()
    work()
    return time.process_time() - start


def shrink(source: Path, target: Path) -> None:
    """Load, analyse, shrink, save; without verification."""
    graph.save(graph.shrink(graph.load(source))[0], target)


def copy(source: Path, target: Path) -> None:
    """What nobody can save: reading and writing."""
    onnx.save(onnx.load(source), target)


def peak(source: Path, target: Path) -> float:
    """The most memory that shrinking takes beyond what Python and its packages take, in units of the file."""
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = resident("VmRSS")
    shrink(source, target)
    return (resident("VmHWM") - before) / source.stat().st_size


def resident(field: str) -> int:
    """Bytes of memory: now (VmRSS), or at the most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speed", description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "out.onnx")
        if options.peak:
            print(peak(options.models[0], target))
            return
        print("| model | MB | load + save, s | load + shrink + save, s | ratio | peak memory / file |")
        print("|---|---|---|---|---|---|")
        for model in options.models:
            shrink(model, target)  # imports and caches
            pairs = [
                (seconds(lambda path=model: copy(path, target)), seconds(lambda path=model: shrink(path, target)))
                for _ in range(options.repeats)
            ]
            base, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratios = [mine / theirs for theirs, mine in pairs]
            ratio = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
            command = [sys.executable, "-m", "tests.benchmarks.speed", "--peak", str(model)]
            memory = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            size = model.stat().st_size / 1e6
            print(f"| {model.stem} | {size:.0f} | {base:.2f} | {ours:.2f} | {ratio} | {memory:.1f} |", flush=True)


if __name__ == "__main__":
    main()
