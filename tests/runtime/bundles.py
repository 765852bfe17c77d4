"""Small bundles, good and bad, made with nothing but what reads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser

from runtime.bundle import CARD, GOLDEN, MANIFEST, MODEL, SCHEMA, file_entry, seal
from runtime.golden import write_golden
from runtime.session import open_session

TEXT = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N,3] x) => (float[N,3] y, int64[N] best) <float f = {%g}>
{ y = Mul(x, f) best = ArgMax<axis = 1, keepdims = 0>(y) }"""
CASES = [({"x": np.eye(3, dtype=np.float32)[: n + 1]}, {}) for n in range(3)]


def write_bundle(folder: Path, factor: float = 2.0, recorded: float = 2.0, **changes: Any) -> Path:
    """A bundle whose model multiplies by ``factor``, and was recorded as one that multiplies by ``recorded``."""
    folder.mkdir()
    (folder / MODEL).write_bytes(onnx.parser.parse_model(TEXT % factor).SerializeToString())
    cases = [(feeds, {"y": recorded * feeds["x"], "best": feeds["x"].argmax(1)}) for feeds, _ in CASES]
    write_golden(folder / GOLDEN, cases)
    (folder / CARD).write_text("# two\n")
    sign(folder, **changes)
    return folder


def sign(folder: Path, **changes: Any) -> None:
    """Write a manifest of what is there, as anybody can."""
    (folder / MANIFEST).unlink(missing_ok=True)
    content = {
        "schema": SCHEMA,
        "model": "two",
        "io_ports": changes.pop("io_ports", None) or open_session(folder / MODEL).ports(),
        "tolerances": {"rtol": 1e-4, "atol": 1e-6, "outputs": {}},
        "files": {path.name: file_entry(path) for path in sorted(folder.iterdir())},
    }
    (folder / MANIFEST).write_bytes(seal(content | changes))


def npz(save: Any = np.savez, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()
