"""Where the time of a model goes: onnxruntime's profile, one entry per operator."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.session import Feeds, open_session
from runtime.settings import Settings

SUFFIX = "_kernel_time"
WARM_UP, FEWEST, MOST = 3, 5, 200  # runs
EVENTS = 500_000  # onnxruntime drops what comes after a million

# Operators that compute nothing: they bring data into another order, type or place.
MOVES = frozenset(
    "Cast Concat Expand Flatten Gather Identity MemcpyFromHost MemcpyToHost Pad ReorderInput ReorderOutput Reshape "
    "Slice Split Squeeze Transpose Unsqueeze".split()
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Op:
    """One operator, as it ran after onnxruntime's optimisations.

    Attributes:
        name: of the node; onnxruntime names those that it fuses after their last output.
        kind: of operator.
        provider: that ran it.
        seconds: per run of the model.
        inputs: shapes, without those of weights that were packed for the kernel. Channels are those of the kernel,
            which may be rounded up to its block.
        outputs: shapes.
        macs: multiply-accumulates of the kernel; 0 for what is neither a convolution nor a matrix product.
        bytes: of activations read and written, and weights.
    """

    name: str
    kind: str
    provider: str
    seconds: float
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    macs: int
    bytes: int

    @property
    def moves(self) -> bool:
        """Whether it only moves data."""
        return self.kind in MOVES

    @property
    def width(self) -> int | None:
        """Output channels of a convolution or matrix product; None for anything else."""
        if not self.macs or not self.outputs[0]:
            return None
        return self.outputs[0][1 if "Conv" in self.kind and len(self.outputs[0]) > 2 else -1]


@dataclass(frozen=True)
class Profile:
    """A model's operators in the order they ran.

    Attributes:
        ops: without those inside of control flow, whose time is in the operator that holds them.
        runs: that were averaged.
        arena_bytes: most that onnxruntime's allocator held; None if it does not tell.
    """

    ops: tuple[Op, ...]
    runs: int
    arena_bytes: int | None

    @property
    def seconds(self) -> float:
        """Of all operators together: what lies between them is mostly the profiler's own work."""
        return sum(op.seconds for op in self.ops)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"unit": "s", "seconds": self.seconds, **asdict(self)}


def profile(model: Path | bytes, feeds: Feeds, settings: Settings | None = None, *, seconds: float = 1.0) -> Profile:
    """Run ``model`` under onnxruntime's profiler for about ``seconds``, on one thread of control.

    An operator's time is its mean over the middle half of the runs. On a device other than the CPU it is the time to
    launch it.

    Raises:
        SessionError: the model cannot be opened or run.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(model, settings, trace=Path(folder, "profile"))
        run = session.bound(feeds)
        for _ in range(WARM_UP):
            run()
        begin = time.perf_counter()
        run()
        nodes = sum(sum(counts.values()) for counts in session.nodes.values()) or 1000
        wanted = math.ceil(seconds / (time.perf_counter() - begin))
        for _ in range(min(max(FEWEST, wanted), MOST, max(1, EVENTS // nodes))):
            run()
        events = json.loads(Path(session.ort.end_profiling()).read_bytes())
    return _read(events)


def _read(events: Sequence[Mapping[str, Any]]) -> Profile:
    """The trace of ``WARM_UP`` + 1 or more runs, of which the last ones count."""
    begins = sorted(event["ts"] for event in events if event["name"] == "model_run")[WARM_UP:]
    nodes = [event for event in events if event["cat"] == "Node" and event["name"].endswith(SUFFIX)]
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    end = begins[0]
    for event in sorted(nodes, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] >= end:  # not inside of another one
            found.setdefault((event["args"]["node_index"], event["name"]), []).append(event)
            end = event["ts"] + event["dur"]
    held = [int(event["args"]["mem_arena_held"]) for event in nodes if "mem_arena_held" in event["args"]]
    ops = tuple(_op(name.removesuffix(SUFFIX), each) for (_, name), each in found.items())
    return Profile(ops, len(begins), max(held, default=None))


def _op(name: str, events: Sequence[Mapping[str, Any]]) -> Op:
    said = events[-1]["args"]
    kind = said["op_name"]
    inputs, outputs = (_shapes(said[f"{side}_type_shape"]) for side in ("input", "output"))
    moved = sum(int(said.get(f"{what}_size", 0)) for what in ("activation", "output", "parameter"))
    seconds = _middle([event["dur"] for event in events])
    return Op(name, kind, said.get("provider", ""), seconds, inputs, outputs, macs(kind, inputs, outputs), moved)


def macs(kind: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> int:
    """Multiply-accumulates of an operator of these shapes; 0 for what is neither a convolution nor a matrix product."""
    if not inputs or not outputs or not outputs[0]:
        return 0
    data, out = inputs[0], outputs[0]
    if "Conv" in kind:
        weights = next((shape for shape in inputs[1:] if len(shape) == len(out) > 2), None)
        if weights is None:
            return 0
        return math.prod(data if "Transpose" in kind else out) * math.prod(weights[1:])
    return math.prod(out) * data[-1] if data and ("Gemm" in kind or "MatMul" in kind) else 0


def _middle(microseconds: Sequence[int]) -> float:
    """The mean of the middle half, in seconds: robust, and finer than the profile's whole microseconds."""
    ordered, skipped = np.sort(np.array(microseconds, np.float64)), len(microseconds) // 4
    return float(ordered[skipped : len(ordered) - skipped].mean()) * 1e-6


def _shapes(entries: Sequence[Mapping[str, Sequence[int]]]) -> tuple[Shape, ...]:
    return tuple(tuple(shape) for entry in entries for shape in entry.values())
