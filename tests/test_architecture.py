"""Who may import whom, and what a machine without torch can do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from onnx_files import write_models

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    path
    for folder in ("compress", "graph", "runtime", "tests", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def importers(package: str) -> dict[str, set[str]]:
    """For each top folder, its files that import ``package``."""
    found: dict[str, set[str]] = {}
    for path in FILES:
        if package in imports(path):
            place = path.relative_to(ROOT)
            found.setdefault(place.parts[0], set()).add(place.as_posix())
    return found


def test_layers() -> None:
    assert importers("graph").keys() <= {"graph", "compress", "tests", "examples"}
    assert importers("runtime").keys() <= {"runtime", "compress", "tests", "examples"}
    assert importers("compress").keys() <= {"compress", "tests", "examples"}


def test_torch_is_where_it_may_be() -> None:
    found = importers("torch")
    assert found.get("runtime", set()) == set()
    assert found.get("graph", set()) <= {"graph/export.py"}


def test_no_file_is_long() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > 400} == {}


WITHOUT_TORCH = """
import sys

class Ban:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise RuntimeError(f"{name} was imported")

sys.meta_path.insert(0, Ban())
from compress.cli import app

for line in sys.argv[1:]:
    try:
        app(line.split())
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line}: status {end.code}")
"""


def test_deployment_needs_no_torch(tmp_path: Path) -> None:
    write_models(tmp_path)
    commands = [
        "--help",
        "train --help",
        "shrink net.onnx -o slim.onnx --data digits",
        "verify slim.onnx --against net.onnx --data digits",
        "package slim.onnx -o bundle --data digits",
        "verify bundle",
        "bench slim.onnx --against net.onnx --seconds 0.1 --profile --plot latency.svg",
        "report bundle -o page.html",
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *commands], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
