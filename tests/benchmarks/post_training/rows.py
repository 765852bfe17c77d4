"""Measured rows in a folder, one file each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onnx import ModelProto

from tests.benchmarks.post_training.field import Network, macs

Row = dict[str, Any]


class Rows:
    """Measured rows in a folder, one file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Row | None:
        """A row that was measured before."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def measure(self, name: str, net: Network, model: ModelProto, seconds: float) -> Row:
        """Judge a model and keep the row; ``seconds`` is what it took to make it."""
        row = {"macs": macs(model), "accuracy": net.accuracy(model), "seconds": seconds}
        (self.folder / f"{name}.json").write_text(json.dumps(row))
        print(name, row, flush=True)
        return row
