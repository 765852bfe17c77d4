"""From any model to a smaller one without training: prune, shrink, inspect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Cli

MODEL = "net.onnx"


def sizes(path: str) -> tuple[float, float]:
    content = json.loads(Path(path).read_text())
    before, after = content["input"], content["output"]
    return after["parameters"] / before["parameters"], after["macs"] / before["macs"]


@pytest.mark.parametrize("criterion", ["random", "l1", "l2"])
def test_prune_then_shrink(criterion: str, cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o zeroed.onnx --criterion {criterion} --keep 0.5 --json p.json").status == 0
    told = json.loads(Path("p.json").read_text())
    assert told["schema"] == 1 and 0 < told["zeroed"] <= told["offered"] / 2
    assert cli(f"verify zeroed.onnx --against {MODEL}").status == 1  # something was lost
    assert cli("shrink zeroed.onnx -o slim.onnx").status == 0
    assert cli("verify slim.onnx --against zeroed.onnx").status == 0  # and nothing since


@pytest.mark.parametrize("budget, place", [("params", 0), ("macs", 1)])
def test_budgets_are_met(budget: str, place: int, cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o zeroed.onnx --criterion l2 --{budget} 0.6").status == 0
    assert cli("shrink zeroed.onnx -o slim.onnx").status == 0
    assert sizes("slim.json")[place] <= 0.6


def test_the_same_seed_gives_the_same_zeros(cli: Cli) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert cli(f"prune {MODEL} -o {name}.onnx --criterion random --keep 0.5 --seed {seed}").status == 0
    a, b, c = (Path(f"{name}.onnx").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--criterion l3 --keep 0.5", "did you mean"),
        ("--criterion l2", "exactly one of"),
        ("--keep 0.5 --macs 0.5", "exactly one of"),
        ("--keep 0", "above 0"),
        ("--keep 1.5", "above 0"),
        ("--params 0.01 --floor 0.5", "cannot be reached"),
    ],
)
def test_bad_options(options: str, expected: str, cli: Cli) -> None:
    result = cli(f"prune {MODEL} -o zeroed.onnx {options}")
    assert result.status == 2
    assert expected in result.err and result.err.count("\n") == 1
    assert not Path("zeroed.onnx").exists()


def test_inspect(cli: Cli) -> None:
    result = cli(f"inspect {MODEL} --json inventory.json")
    assert result.status == 0
    told = json.loads(Path("inventory.json").read_text())
    assert told["schema"] == 1
    assert sum(family["classes"] for family in told["offered"]) == 8 + 16
    assert f"{told['size']['parameters']:,}" in result.out


@pytest.mark.parametrize("align", ["off", "8", "auto"])
def test_every_alignment_is_exact(align: str, cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o zeroed.onnx --keep 0.5").status == 0
    assert cli(f"shrink zeroed.onnx -o slim.onnx --align {align}").status == 0
    assert cli("verify slim.onnx --against zeroed.onnx").status == 0


def test_a_bad_alignment(cli: Cli) -> None:
    result = cli(f"shrink {MODEL} -o slim.onnx --align most")
    assert result.status == 2 and "auto, off or a whole number" in result.err
