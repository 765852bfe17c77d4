"""MACs promise, latency keeps: how much of what pruning removes is gained?

``python -m tests.benchmarks.latency_table`` prunes torchvision networks at random to fractions of their MACs, shrinks
them with and without ``--align auto``, and times each against the whole network, all by the command line. What is done
stays in a folder, so that a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.rivals.report import BEGIN, END, table

PAGE = Path("docs/results/latency.md")
NETWORKS = ("resnet50", "mobilenet_v2", "densenet121")
FRACTIONS = (0.75, 0.5, 0.25)
ALIGNMENTS = ("off", "auto")

INTRODUCTION = """# MACs and latency

```
OMP_NUM_THREADS=1 python -m tests.benchmarks.latency_table
```

Networks with random weights at 224x224, pruned by `compress prune --criterion random --macs F`, shrunk by
`compress shrink` without alignment and with `--align auto`, and timed by `compress bench` against the whole network.
Columns are fractions of the whole network: of its MACs, and of its latency: 1 / speedup, with its 95 % interval where
there was time for rounds enough. What `--align auto` keeps are dead channels that fill a block of the kernels: it has
more MACs and takes less time.

## Measured
"""


def compress(line: str) -> None:
    """Run the command line; what it says goes to stderr."""
    done = subprocess.run([sys.executable, "-m", "compress", *shlex.split(line)], stdout=sys.stderr)
    if done.returncode:
        sys.exit(f"compress {line}: status {done.returncode}")


def figures(folder: Path, name: str, fraction: float, align: str, options: argparse.Namespace) -> dict[str, Any]:
    """One network, pruned, shrunk and timed: what is in the folder is not made again."""
    whole, zeroed = folder / f"{name}.onnx", folder / f"{name}-{fraction}.onnx"
    slim = folder / f"{name}-{fraction}-{align}.onnx"
    result = folder / f"{slim.stem}-{options.provider}.bench.json"
    if not whole.exists():
        compress(f"export torchvision:{name} -o {whole} --random-init")
    if not zeroed.exists():
        compress(f"prune {whole} -o {zeroed} --criterion random --macs {fraction}")
    if not slim.exists():
        compress(f"shrink {zeroed} -o {slim} --align {align}")
    if not result.exists():
        how = " ".join(f"--session {each}" for each in options.session)
        compress(
            f"bench {slim} --against {whole} --batch {options.batch} --threads 1 --seconds {options.seconds} "
            f"--provider {options.provider} {how} --json {result}"
        )
    certificate = json.loads(slim.with_suffix(".json").read_text())
    return {
        "macs": certificate["output"]["macs"] / certificate["input"]["macs"],
        "results": json.loads(result.read_text())["results"],
    }


def latency(result: dict[str, Any]) -> str:
    """What is left of the latency, with its interval if there were rounds enough for one."""
    ratio = result["comparison"]["ratio"]
    left = f"{1 / ratio['estimate']:.2f}"
    return f"{left} ({1 / ratio['high']:.2f} to {1 / ratio['low']:.2f})" if ratio["low"] else left


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.latency_table", description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--fractions", default=",".join(map(str, FRACTIONS)))
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--session", action="append", default=[], help="as of compress bench, such as cuda-graph=on")
    parser.add_argument("--folder", type=Path, default=Path("runs/latency"))
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows, environment = [], {}
    for name in options.networks.split(","):
        for fraction in map(float, options.fractions.split(",")):
            for align in ALIGNMENTS:
                found = figures(options.folder, name, fraction, align, options)
                times = [latency(result) for result in found["results"]]
                rows.append([name, f"{fraction:.0%}", align, f"{found['macs']:.2f}", *times])
                environment = found["results"][0]["environment"]
    batches = [f"latency, batch {batch}" for batch in options.batch.split(",")]
    body = table(["network", "asked for", "align", "MACs", *batches], rows)
    machine = f"{environment['gpu'] or environment['cpu']}, one thread, onnxruntime {environment['onnxruntime']}"
    options.page.write_text("\n".join([INTRODUCTION, BEGIN, body, "", f"{options.provider}: {machine}", END]) + "\n")
    print(body)


if __name__ == "__main__":
    main()
