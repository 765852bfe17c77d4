from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx_files import write_models
from shell import Cli, Result
from typer.testing import CliRunner

from compress.cli import app

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture
def here(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh current folder with small models in it, and a file that no failure may touch."""
    for path in originals.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "precious.onnx").write_text("not to be touched")
    (tmp_path / "precious.json").write_text("not to be touched")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def cli(here: Path) -> Cli:
    """The command line, in this process."""

    def run(line: str) -> Result:
        result = CliRunner().invoke(app, shlex.split(line))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a traceback is a bug
        return Result(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def start(here: Path) -> Callable[..., subprocess.Popen[str]]:
    """The command line in a process of its own, which Ctrl-C reaches even if the tests run in the background."""

    def run(line: str, prepare: Callable[[], object] = lambda: None) -> subprocess.Popen[str]:
        def before() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            prepare()

        return subprocess.Popen(
            [sys.executable, "-m", "compress", *shlex.split(line)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE)},
            preexec_fn=before,
        )

    return run


@pytest.fixture
def files(here: Path) -> Callable[[], dict[str, bytes]]:
    """The content of all files below the current folder."""

    def read() -> dict[str, bytes]:
        return {str(p.relative_to(here)): p.read_bytes() for p in here.rglob("*") if p.is_file()}

    return read
