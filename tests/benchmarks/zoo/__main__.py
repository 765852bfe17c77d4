"""Prune half of the channels of every network at random, shrink, and compare.

``python -m tests.benchmarks.zoo`` writes docs/results/zoo.md. Every network runs in its own process, the small ones
first. What is done is kept in ``--results``, so that a run that was interrupted goes on where it stopped; networks that
are named by ``--models`` are measured again. Exit status 1: a network failed, changed its output, or kept channels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.rivals.report import insert
from tests.benchmarks.zoo.micro_nets import MICRO
from tests.benchmarks.zoo.one import Row
from tests.benchmarks.zoo.report import status, text
from tests.benchmarks.zoo.torchvision_nets import NAMES, published_size

ROOT = Path(__file__).parents[3]


def measure(name: str, folder: Path | None, limit: float) -> Row:
    """The row of one network, from a process of its own."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.benchmarks.zoo.one",
        name,
        *([str(folder)] if folder else []),
    ]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"still running after {limit:.0f} s"}
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"failed": f"exit status {done.returncode}: {lines[-1] if lines else ''}"[:200]}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.zoo", description=__doc__)
    parser.add_argument("--models", help="measure these, separated by commas, whether they are there or not")
    parser.add_argument("--smallest", type=int, help="only this many, the smallest")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "runs" / "zoo.json", help="what is done; delete to begin anew"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep the exported networks here (18 GB) and use those that are there"
    )
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one network")
    options = parser.parse_args()
    order = [*MICRO, *sorted(NAMES, key=published_size)][: options.smallest]
    chosen = options.models.split(",") if options.models else order
    rows: dict[str, Row] = json.loads(options.results.read_text()) if options.results.exists() else {}
    for name in chosen:
        if name in rows and not options.models:
            continue
        rows[name] = measure(name, options.folder, options.limit)
        print(f"{name}: {status(rows[name])}", flush=True)
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(rows, indent=1))
    insert(ROOT / "docs" / "results" / "zoo.md", text({name: rows[name] for name in order if name in rows}))
    if wrong := [name for name in chosen if status(rows[name]) != "ok"]:
        sys.exit(f"not ok: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
