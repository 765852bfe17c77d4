"""Measure onnx-compress against its rivals: same networks, same zeros, same judge.

``python -m tests.benchmarks.rivals`` writes docs/results/rivals.md; a rival that is not installed is said to be so.
Every step runs in its own process, so that a tool that crashes or hangs costs one cell. Exit status 1: a cell of ours
failed or its output changed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.rivals import report, units
from tests.benchmarks.rivals.judge import NOISE
from tests.benchmarks.rivals.tools import TOOLS, Cell

README = ["resnet18", "resnet50", "mobilenet_v2", "googlenet", "densenet121", "vgg16_bn"]
NETWORKS = [
    *README,
    "wide_resnet50_2",
    "mobilenet_v3_large",
    "mnasnet1_0",
    "efficientnet_b0",
    "squeezenet1_0",
    "regnet_y_400mf",
    "resnext50_32x4d",
]
MODES = ("zeros", "constants")
ROOT = Path(__file__).parents[3]
PACKAGE = "tests.benchmarks.rivals"
LIMIT = 300  # seconds for one process


def call(module: str, *arguments: str) -> tuple[str, str]:
    """Run a module of this package; returns its output and, if it failed, one line that says how."""
    command = [sys.executable, "-W", "ignore", "-m", f"{PACKAGE}.{module}", *arguments]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"still running after {LIMIT} s"
    if done.returncode == 0:
        return done.stdout, ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return "", f"exit status {done.returncode}: {lines[-1] if lines else ''}"[:160]


def cells(tool: str, files: list[Path]) -> list[Cell]:
    """The cells of one tool; files that share a process are tried again alone if it dies."""
    output, failed = call("tools", tool, *map(str, files))
    if not failed:
        found = json.loads(output.splitlines()[-1])
        return [found[str(path)] for path in files]
    if len(files) == 1:
        return [{"failed": failed}]
    return [cell for path in files for cell in cells(tool, [path])]


def network(name: str, folder: Path) -> dict[str, Cell]:
    """All cells of one network; its files are made unless they are there."""
    facts = folder / name / "facts.json"
    if not facts.exists():
        _, failed = call("networks", name, str(folder / name))
        if failed:
            return {f"{mode}/torch-pruning": {"failed": failed} for mode in MODES}
    found: dict[str, Cell] = json.loads(facts.read_text())
    for tool in TOOLS:
        rows = cells(tool, [folder / name / f"{mode}.onnx" for mode in MODES])
        found |= {f"{mode}/{tool}": cell for mode, cell in zip(MODES, rows, strict=True)}
    return found


def measure(names: list[str], folder: Path, jobs: int) -> tuple[str, dict[str, dict[str, Cell]], list[str]]:
    """Everything as Markdown, the cells of the networks, and which cells of ours are wrong."""
    start = time.perf_counter()
    reused = sum((folder / name / "facts.json").exists() for name in names)
    written = units.write(folder / "units")
    files = [path for path, _ in written.values()]
    rows = {tool: cells(tool, files) for tool in TOOLS}
    matrix = {name: {tool: rows[tool][i] for tool in TOOLS} for i, name in enumerate(written)}
    found = {}
    with ThreadPoolExecutor(jobs) as pool:  # the threads wait for processes that have one thread each
        for name, row in zip(names, pool.map(lambda name: network(name, folder), names), strict=True):
            found[name] = row
            print(name, *(f"{key} {report.share(cell)}" for key, cell in row.items()), sep="\n  ", flush=True)
    spent = time.perf_counter() - start
    text = f"{datetime.date.today()}, {report.setting()}. The run took {spent / 60:.0f} minutes"
    text += f", {reused} of {len(names)} networks were there from a run before.\n\n" if reused else ".\n\n"
    text += "### Zeros: gamma = beta = 0\n\n" + report.networks(found, "zeros")
    text += "\n### Constants: gamma = 0, beta as it was\n\n" + report.networks(found, "constants")
    ideal = {name: count for name, (_, count) in written.items()}
    text += "\n### One op at a time\n\n" + report.units(matrix, ideal)
    ours = {name: row["ours"] for name, row in matrix.items()}
    ours |= {f"{name}, {mode}": row.get(f"{mode}/ours", {}) for name, row in found.items() for mode in MODES}
    wrong = [name for name, cell in ours.items() if "failed" in cell or cell.get("error", 0) > NOISE]
    return text, found, wrong


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {PACKAGE}", description=__doc__)
    parser.add_argument("--models", default=",".join(NETWORKS), help="a subset: printed, not written")
    parser.add_argument("--folder", type=Path, help="keep the networks here and use those that are there")
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time; more spoils the seconds")
    parser.add_argument("--readme", type=Path, help="write the README's compact table to this file")
    options = parser.parse_args()
    names = options.models.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        text, found, wrong = measure(names, options.folder or Path(temporary), options.jobs)
    print(text)
    if names == NETWORKS:
        report.insert(ROOT / "docs" / "results" / "rivals.md", text)
    if options.readme:
        options.readme.write_text(report.compact({name: found[name] for name in README if name in found}))
    if wrong:
        sys.exit(f"wrong or failed: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
