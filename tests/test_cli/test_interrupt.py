"""Ctrl-C: status 130, one line, nothing half done."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shell import Cli

Start = Callable[..., "subprocess.Popen[str]"]


def interrupt(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    return err


@pytest.mark.parametrize("verb", ["shrink net.onnx -o precious.onnx", "verify net.onnx --against net.onnx"])
def test_interrupted_commands_leave_nothing(
    verb: str, here: Path, start: Start, files: Callable[[], dict[str, bytes]]
) -> None:
    before = files()
    process = start(f"{verb} --data slow_data:slow")
    deadline = time.monotonic() + 60
    while not (here / "waiting").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert interrupt(process) == "compress: interrupted\n"
    assert files() == before | {"waiting": b""}


@pytest.mark.slow
def test_an_interrupted_training_is_resumed_to_the_same_weights(here: Path, start: Start, cli: Cli) -> None:
    line = "train --model cli_nets:Net --epochs 60 --train-limit 64 --device cpu --out"
    process = start(f"{line} broken")
    assert process.stderr is not None
    for text in process.stderr:
        if "epoch 3" in text:
            break
    assert interrupt(process).endswith("compress: interrupted\n")
    assert not (here / "broken/summary.json").exists()
    assert cli("train --resume --out broken").status == 0
    assert cli(f"{line} whole").status == 0
    ours, theirs = (torch.load(here / run / "checkpoint.pt")["model"] for run in ("broken", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
