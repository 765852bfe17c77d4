"""Results as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.rivals.judge import NOISE
from tests.benchmarks.rivals.tools import Cell

BEGIN, END = "<!-- begin measured -->", "<!-- end measured -->"
NAMES = {
    "torch-pruning": "Torch-Pruning (ideal)",
    "ours": "onnx-compress",
    "openvino": "OpenVINO Pruning",
    "onnxsim": "onnxsim pruning",
    "torch-simplify": "EIDOSLAB simplify",
}
RIVALS = ["torch-pruning", "onnxsim", "openvino", "torch-simplify"]
PACKAGES = ["torch", "torchvision", "onnx", "onnxruntime-gpu", "onnxruntime", *RIVALS]

Networks = Mapping[str, Mapping[str, Cell]]  # network -> "mode/tool" -> cell


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def error(value: float) -> str:
    """A relative error; bold if it is more than rounding."""
    return f"{value:.0e}".replace("e-0", "e-") if value <= NOISE else f"**{value:.2g}**"


def share(cell: Cell | None) -> str:
    """Share of the parameters left, relative error, seconds."""
    if cell is None:
        return ""
    if "failed" in cell:
        return f"fails: {cell['failed']}".replace("|", "/")
    note = f"; {cell['note']}" if cell.get("note") else ""
    return f"{cell['left'] / cell['of']:.3f} ({error(cell['error'])}, {cell['seconds']:.1f} s){note}"


def networks(found: Networks, mode: str) -> str:
    """The table of the torchvision networks for one mode."""
    tools = [tool for tool in NAMES if any(f"{mode}/{tool}" in cells for cells in found.values())]
    rows = [[name, *(share(cells.get(f"{mode}/{tool}")) for tool in tools)] for name, cells in found.items()]
    return table(["network", *(NAMES[tool] for tool in tools)], rows)


def unit(cell: Cell, ideal: int) -> str:
    """How much of what could go went, and the error if it is more than rounding."""
    if "failed" in cell:
        return f"fails: {cell['failed']}".replace("|", "/")
    wrong = f", output changed: {error(cell['error'])}" if cell["error"] > NOISE else ""
    gone, possible = cell["of"] - cell["left"], cell["of"] - ideal
    if gone == 0:
        return f"nothing{wrong}"
    if gone > possible * 1.05:
        return f"more than may go{wrong}"
    return ("all" if gone > possible * 0.98 else f"{gone / possible:.0%}") + wrong


def units(found: Mapping[str, Mapping[str, Cell]], ideal: Mapping[str, int]) -> str:
    """The unit matrix."""
    tools = ["ours", "openvino", "onnxsim"]
    rows = [[name, *(unit(cells[tool], ideal[name]) for tool in tools)] for name, cells in found.items()]
    return table(["between two convolutions", *(NAMES[tool] for tool in tools)], rows)


def compact(found: Networks) -> str:
    """Parameters left and relative error for the README."""
    tools = ["ours", "torch-pruning", "onnxsim"]
    head = ["network"]
    head += [f"{NAMES[t].removesuffix(' (ideal)')}, {mode}" for mode in ("zeros", "constants") for t in tools]

    def brief(cell: Cell) -> str:
        return "fails" if "failed" in cell else f"{cell['left'] / cell['of']:.1%} ({error(cell['error'])})"

    return table(head, [
        [name, *(brief(cells[f"{mode}/{tool}"]) for mode in ("zeros", "constants") for tool in tools)]
        for name, cells in found.items()
    ])  # fmt: skip


def setting() -> str:
    """Versions and machine."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    machine = f"{next(iter(names), platform.machine())}, {os.cpu_count()} cores shared with other work"
    return f"{machine}; Python {platform.python_version()}, {', '.join(found)}"


def insert(path: Path, measured: str) -> None:
    """Replace what stands between the markers of ``path``; the prose around them is written by hand."""
    text = path.read_text() if path.exists() else f"# Rivals\n\n{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n\n{measured}\n{END}{rest.partition(END)[2]}")
