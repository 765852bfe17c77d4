"""The whole way on scikit-learn's digits: train to zeros, export, shrink, verify, bench."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from rich.table import Table

from compress import tables
from compress.bridge.exporting import export_file, resolve
from compress.errors import UserError
from compress.files import write_text
from compress.progress import Progress
from compress.report.plots import overview_plot
from compress.shrinking import Shrunk, shrink_file
from compress.train import Summary, TrainConfig, train
from compress.verify.verifying import accuracy_figures, verify_files
from runtime import BenchResult, PairedAccuracy, Plan, bench

MODEL, EPOCHS, TARGET, BATCH = "resnet20", 25, 0.6, 32
LEAST_REMOVED, MOST_LOST = 0.5, 1.0  # of the parameters; points of test accuracy

MARKER = "demo.json"


@dataclass(frozen=True)
class Demonstration:
    """What came out of each step."""

    dense: Summary
    trained: Summary
    shrunk: Shrunk
    accuracy: PairedAccuracy
    latency: BenchResult
    picture: Path
    seconds: float

    @property
    def held(self) -> bool:
        """Whether the demo kept its promise: half the parameters gone, at most one point of accuracy lost."""
        size = self.shrunk.certificate
        gone = 1 - size.output.parameters / size.input.parameters
        lost = 100 * self.dense.test_accuracy - self.accuracy.candidate.percent
        return gone >= LEAST_REMOVED and lost <= MOST_LOST and self.accuracy.lost == self.accuracy.gained == 0

    def table(self) -> Table:
        """The summary that the demo ends in."""
        before, after = self.shrunk.certificate.input, self.shrunk.certificate.output
        comparison = self.latency.comparison
        assert comparison is not None and self.latency.reference is not None
        title = f"{MODEL} on digits, {self.seconds:.0f} s"
        table = tables.table(title, "", "dense", "trained to zeros", "after shrink")
        table.add_row(
            "test accuracy, %",
            f"{100 * self.dense.test_accuracy:.2f}",
            f"{100 * self.trained.test_accuracy:.2f}",
            f"{self.accuracy.candidate.percent:.2f}",
        )
        for name, old, new in (
            ("parameters", before.parameters, after.parameters),
            ("MACs", before.macs, after.macs),
            ("bytes", before.bytes, after.bytes),
        ):
            table.add_row(name, f"{old:,}", f"{old:,}", f"{new:,} ({new / old:.0%})")
        reference, candidate = self.latency.reference.median, self.latency.candidate.median
        table.add_row(f"latency, ms (batch {BATCH})", "", f"{1e3 * reference:.3f}", f"{1e3 * candidate:.3f}")
        ratio = comparison.ratio
        table.add_row("speedup", "", "1", f"{ratio.estimate:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
        return table

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "dense": asdict(self.dense),
            "trained": asdict(self.trained),
            "input": asdict(self.shrunk.certificate.input),
            "output": asdict(self.shrunk.certificate.output),
            "check": dict(self.shrunk.certificate.check),
            "accuracy": accuracy_figures(self.accuracy),
            "latency": self.latency.to_dict(),
            "held": self.held,
            "seconds": self.seconds,
        }


def demonstrate(folder: Path, say: Callable[[str], object], progress: Callable[[], Progress]) -> Demonstration:
    """Run the whole way into ``folder``, replacing an earlier demo there.

    Args:
        folder: takes everything.
        say: told each step.
        progress: makes who is told how far a training is.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    begin = time.monotonic()
    _clear(folder)
    say("1/5 train a dense network, and one to exact zeros, on 1,437 digits")
    dense = _train(folder / "dense", progress(), method="sgd")
    trained = _train(folder / "trained", progress(), method="proximal-slimming", target=TARGET)
    say(f"2/5 export: {folder / 'model.onnx'}")
    model, slim = folder / "model.onnx", folder / "slim.onnx"
    export_file(resolve(str(folder / "trained")), model, opset=20)
    say(f"3/5 shrink: {slim}")
    shrunk = shrink_file(model, slim, certificate=folder / "certificate.json", align="auto", batch=BATCH, data="digits")
    say("4/5 verify on all test images")
    verified = verify_files(slim, model, data="digits")
    assert verified.accuracy is not None
    say("5/5 bench: both models in turns")
    latency = bench(slim, model, batch=BATCH, plan=Plan(max_time=10.0))
    picture = folder / "demo.png"
    overview_plot(
        conv_widths(model, slim),
        latency,
        picture,
        f"{MODEL} on digits: {TARGET:.0%} of the channels trained to zero",
    )
    result = Demonstration(dense, trained, shrunk, verified.accuracy, latency, picture, time.monotonic() - begin)
    write_text(folder / MARKER, json.dumps({"schema": 1, **result.to_dict()}, indent=2) + "\n")
    return result


def conv_widths(model: Path, slim: Path) -> dict[str, tuple[int, int]]:
    """(kept, original) output channels per convolution, in the order of the network."""
    before, after = _conv_outputs(model), _conv_outputs(slim)
    return {name: (after.get(name, 0), width) for name, width in before.items()}


def _conv_outputs(path: Path) -> dict[str, int]:
    graph = onnx.load(path).graph
    widths = {tensor.name: tensor.dims[0] for tensor in graph.initializer}
    return {
        node.name: widths[node.input[1]] for node in graph.node if node.op_type == "Conv" and node.input[1] in widths
    }


def _train(folder: Path, progress: Progress, **settings: Any) -> Summary:
    config = TrainConfig(model=MODEL, data="digits", epochs=EPOCHS, schedule="cosine", out=folder, **settings)
    return train(config, progress=progress)


def _clear(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise UserError(f"{folder} holds something else than a demo: choose another --out")
    for run in ("dense", "trained"):
        shutil.rmtree(folder / run, ignore_errors=True)
    write_text(folder / MARKER, "{}\n")  # an interrupted demo may be replaced, too
