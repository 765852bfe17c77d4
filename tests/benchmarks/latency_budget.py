"""Are budgets of latency honoured? Asked for half, is half what an independent measurement finds?

``python -m tests.benchmarks.latency_budget MODEL.onnx ...`` prunes every model to fractions of its latency, shrinks it,
and times it against the whole one, all by the command line: the last step knows nothing of the first.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.rivals.report import table

HEAD = ["model", "asked for", "first try", "prune says", "bench says (95 %)", "off by", "classes", "MACs", "prune took"]


def compress(line: str) -> str:
    """Run the command line; a latency that was missed is a result, too."""
    done = subprocess.run([sys.executable, "-m", "compress", *shlex.split(line)], capture_output=True, text=True)
    if done.returncode > 1:
        sys.exit(done.stderr)
    return done.stderr


def row(model: Path, fraction: float, folder: Path, options: argparse.Namespace) -> list[str]:
    """One model, one budget."""
    name = f"{model.stem}-{fraction}-{options.per}"
    zeroed, slim, told = (folder / f"{name}{end}" for end in (".zeroed.onnx", ".onnx", ".prune.json"))
    start = time.monotonic()
    steps = compress(
        f"prune {model} -o {zeroed} --latency {fraction} --per {options.per} --session threads=1 --json {told}"
    )
    seconds = time.monotonic() - start
    compress(f"shrink {zeroed} -o {slim} --no-verify --quiet")
    compress(f"bench {slim} --against {model} --threads 1 --seconds 3 --json {folder / name}.bench.json --quiet")
    pruned, certificate = _json(told), _json(slim.with_suffix(".json"))
    ratio = _json(folder / f"{name}.bench.json")["results"][0]["comparison"]["ratio"]
    found, low, high = (1 / ratio[key] if ratio[key] else None for key in ("estimate", "high", "low"))
    assert found is not None
    interval = f" ({low:.3f} to {high:.3f})" if low and high else ""
    tries = [float(line.rpartition(" ")[2]) for line in steps.splitlines() if " latency " in line and "/8 " in line]
    return [
        model.stem,
        f"{fraction:.2f}",
        f"{tries[0]:.3f}",
        f"{pruned['latency']:.3f}",
        f"{found:.3f}{interval}",
        f"{found / fraction - 1:+.1%}",
        f"{1 - pruned['zeroed'] / pruned['offered']:.0%}",
        f"{certificate['output']['macs'] / certificate['input']['macs']:.0%}",
        f"{seconds:.0f} s, {len(tries)} runs",
    ]


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.latency_budget", description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--fractions", default="0.7,0.5")
    parser.add_argument("--per", default="class")
    parser.add_argument("--folder", type=Path, default=Path("runs/latency-budget"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for model in options.models:
        for fraction in map(float, options.fractions.split(",")):
            rows.append(row(model, fraction, options.folder, options))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    print(table(HEAD, rows))


if __name__ == "__main__":
    main()
