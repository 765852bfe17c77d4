"""How much of `compress verify` is ONNX Runtime's own time: ``python -m tests.benchmarks.verify_share``.

Two models see the 10,000 test images of CIFAR-10, as ``compress verify slim.onnx --against model.onnx --data cifar10``
has them. Prints the seconds of the whole, those inside ONNX Runtime, and their ratio, of each repeat.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from unittest.mock import patch

from compress.verify.verifying import verify_files
from runtime.session import Array, Feeds, Session


class Stopwatch:
    """Adds up the seconds inside `Session.run`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.run = Session.run

    def __call__(self, session: Session, feeds: Feeds) -> dict[str, Array]:
        start = time.perf_counter()
        outputs = self.run(session, feeds)
        self.seconds += time.perf_counter() - start
        return outputs


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.verify_share", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("against", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True, help="where cifar-10-batches-py lies")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    shares = []
    for _ in range(options.repeats):
        watch = Stopwatch()
        with patch.object(Session, "run", lambda session, feeds, watch=watch: watch(session, feeds)):
            start = time.perf_counter()
            verify_files(options.model, options.against, data="cifar10", data_dir=options.data_dir)
            whole = time.perf_counter() - start
        shares.append(watch.seconds / whole)
        print(f"{whole:.1f} s, of which {watch.seconds:.1f} s in ONNX Runtime: {shares[-1]:.3f}", flush=True)
    print(f"median {statistics.median(shares):.3f}")


if __name__ == "__main__":
    main()
