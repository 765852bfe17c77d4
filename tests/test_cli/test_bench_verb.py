"""Everything that ``compress bench`` measures besides latency."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from shell import Cli

from compress.bench import widths

BOTH = "bench net.onnx --against other.onnx --seconds 0.1 --threads 1 --json figures.json"


def figures() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        Path("figures.json").read_text(), parse_constant=lambda name: pytest.fail(name)
    )
    assert content["schema"] == 1
    return content


def test_throughput_of_several_batches_and_streams(cli: Cli) -> None:
    result = cli(f"{BOTH} --mode throughput --batch 1,4 --streams 1,2")
    assert result.status == 0, result.err
    assert "rows/s" in result.out and "p90" not in result.out and "2 streams, cpu, batch 4" in result.out
    assert [(each["settings"]["streams"], each["settings"]["mode"]) for each in figures()["results"]] == [
        (streams, "throughput") for _ in (1, 4) for streams in (1, 2)
    ]


def test_cold_starts(cli: Cli) -> None:
    result = cli(f"{BOTH} --mode cold-start")
    assert result.status == 0, result.err
    assert "create and first run: speedup" in result.out
    (found,) = figures()["cold_starts"]
    assert found["candidate"][0]["create"] > 0 and len(found["candidate"]) == len(found["reference"])
    assert cli(f"{BOTH} --mode cold-start --min-speedup 1000").status == 1


def test_memory_and_profile_of_both(here: Path, cli: Cli) -> None:
    result = cli(f"{BOTH} --memory --profile --plot layers.svg")
    assert result.status == 0, result.err
    assert "process peak" in result.out and "slowest layers" in result.out and "GMAC/s" in result.out
    assert all(len(line) <= 80 for line in result.out.splitlines() if "  " in line)
    content = figures()
    assert [each["model"] for each in content["memory"]] == ["net.onnx", "other.onnx"]
    (found,) = content["profiles"]
    assert len(found["layers"]) == 3 and all(layer["before"] and layer["after"] for layer in found["layers"])
    assert ElementTree.parse(here / "layers.svg").getroot().tag.endswith("svg")
    assert cli("bench net.onnx --seconds 0.1 --profile --plot layers.png --transfers").status == 0
    assert (here / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_widths(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widths, "relative_latency", lambda model, reference, settings: 0.5)
    result = cli("bench net.onnx --widths --json figures.json")
    assert result.status == 0, result.err
    assert {each["width"] for each in figures()["widths"]} == {8, 16, 10}
    assert "16 (0.50)" in result.out


def test_accuracy_is_a_goal_too(cli: Cli) -> None:
    line = "bench net.onnx --against net.onnx --seconds 0.1 --json figures.json --data digits"
    assert cli(f"{line} --max-drop 0").status == 0
    assert figures()["accuracy"]["images"] == 359
    result = cli(f"{line} --max-drop -1")
    assert result.status == 1 and "loses 0.00 points of accuracy, more than -1" in result.err


def test_inputs_and_settings_are_those_asked_for(cli: Cli) -> None:
    assert cli(f"{BOTH} --dim N=3 --session optimisation=off --input input=0.5").status == 0
    (found,) = figures()["results"]
    assert found["settings"]["inputs"] == {"input": [3, 1, 8, 8]} and found["settings"]["optimisation"] == "off"
    assert found["settings"]["files"]["candidate"]["sha256"] != found["settings"]["files"]["reference"]["sha256"]
    assert found["parity"]["max_rel"] > 0
