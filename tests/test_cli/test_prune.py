"""From any model to a smaller one without training: prune, shrink, inspect."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from shell import Cli

from compress import shrinking
from compress.staircase import KINDS, WIDTHS, Staircase

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
    assert sum(each["parameters"] for each in [*told["offered"], *told["held"]]) == told["size"]["parameters"]
    assert all(each["op"] in result.out for each in told["held"])


@pytest.mark.parametrize("options", ["--align off", "--align 8", "--align auto", "--select never", "--select always"])
def test_every_alignment_and_selection_is_exact(options: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrinking, "staircase", lambda: stairs(8))
    assert cli(f"prune {MODEL} -o zeroed.onnx --keep 0.5").status == 0
    assert cli(f"shrink zeroed.onnx -o slim.onnx {options}").status == 0
    assert cli("verify slim.onnx --against zeroed.onnx").status == 0


def stairs(block: int) -> Staircase:
    """Of a machine on which widths between two blocks cost twice as much."""
    return Staircase({kind: {width: width * (2.0 if width % block else 1.0) for width in WIDTHS} for kind in KINDS})


@pytest.mark.parametrize("verdict, multiples", [("faster", True), ("same", False), ("slower", False)])
def test_alignment_is_taken_where_this_model_gains(
    verdict: str, multiples: bool, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The staircase proposes, the model's own latency decides."""
    monkeypatch.setattr(shrinking, "staircase", lambda: stairs(8))
    monkeypatch.setattr(
        shrinking, "bench", lambda *models, **_: SimpleNamespace(comparison=SimpleNamespace(verdict=verdict))
    )
    assert cli(f"prune {MODEL} -o zeroed.onnx --keep 0.6").status == 0
    assert cli("shrink zeroed.onnx -o slim.onnx --align auto").status == 0
    kept = json.loads(Path("slim.json").read_text())["kept_zero"]
    assert any(entry["reason"] == "align" for entry in kept) == multiples


def test_a_machine_without_steps_is_not_asked_about_the_model(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrinking, "staircase", lambda: stairs(1))
    monkeypatch.delattr(shrinking, "bench")
    assert cli(f"prune {MODEL} -o zeroed.onnx --keep 0.6").status == 0
    assert cli("shrink zeroed.onnx -o slim.onnx --align auto").status == 0


@pytest.mark.parametrize("budget", ["params", "macs"])
@pytest.mark.parametrize("fraction", [0.3, 0.55, 0.9])
def test_no_class_goes_that_the_budget_could_afford(budget: str, fraction: float, cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o zeroed.onnx --{budget} {fraction} --json told.json").status == 0
    told = json.loads(Path("told.json").read_text())
    for zeroed, met in ((told["zeroed"], True), (told["zeroed"] - 1, False)):
        if zeroed >= 0:  # the model has dead channels as it is
            assert cli(f"prune {MODEL} -o more.onnx --keep {1 - zeroed / told['offered']}").status == 0
            assert cli("shrink more.onnx -o slim.onnx --no-verify").status == 0
            assert (sizes("slim.json")[budget == "macs"] <= fraction) == met


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--align most", "auto, off or a whole number"),
        ("--align 0", "auto, off or a whole number"),
        ("--select often", "auto, never or always"),
    ],
)
def test_bad_alignments_and_selections(options: str, expected: str, cli: Cli) -> None:
    result = cli(f"shrink {MODEL} -o slim.onnx {options}")
    assert result.status == 2 and expected in result.err
    assert not Path("slim.onnx").exists()
