"""From any model to a smaller one without training: prune, shrink, inspect."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from shell import Cli

from compress import shrinking
from compress.bench.staircase import KINDS, WIDTHS, Staircase
from compress.prune import CRITERIA, latency, pruning
from compress.prune.masked import MaskedModel

MODEL = "net.onnx"


def sizes(path: str) -> tuple[float, float]:
    content = json.loads(Path(path).read_text())
    before, after = content["input"], content["output"]
    return after["parameters"] / before["parameters"], after["macs"] / before["macs"]


DATA = "--input input=x.npy --samples 16"


@pytest.fixture(autouse=True)
def samples(here: Path) -> None:
    """Calibration data for the model, and some that does not fit."""
    x = np.random.default_rng(0).normal(size=(20, 1, 8, 8)).astype(np.float32)
    np.save("x.npy", x)
    np.save("narrow.npy", x[..., :5])
    x[3, 0, 0, 0] = np.nan
    np.save("nan.npy", x)


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"bn-scale", "taylor", "fisher"}))
def test_prune_then_shrink(criterion: str, cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o zeroed.onnx --criterion {criterion} --keep 0.5 {DATA} --json p.json").status == 0
    assert not list(Path().glob("*scores*"))
    told = json.loads(Path("p.json").read_text())
    assert told["schema"] == 1 and 0 < told["zeroed"] <= told["offered"] / 2
    assert sum(family["zeroed"] for family in told["families"]) == told["zeroed"]
    assert told["output"]["macs"] < told["input"]["macs"]
    assert cli(f"verify zeroed.onnx --against {MODEL}").status == 1  # something was lost
    assert cli("shrink zeroed.onnx -o slim.onnx").status == 0
    assert cli("verify slim.onnx --against zeroed.onnx").status == 0  # and nothing since


TINY = """
import torch
from torch import nn

def net(classes, seed=0):
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)
    return nn.Sequential(*layers)

def other(classes):
    return net(classes, 1)
"""


def test_gradients_are_those_of_the_module_that_was_exported(cli: Cli) -> None:
    Path("tiny.py").write_text(TINY)
    assert cli("export tiny:net -o tiny.onnx --input 1x8x8 --classes 10").status == 0
    prune = "prune tiny.onnx -o zeroed.onnx --criterion taylor --keep 0.5 --data digits --samples 40"
    for rounds in (1, 2):
        assert cli(f"{prune} --init tiny:net --rounds {rounds}").status == 0
        assert cli("shrink zeroed.onnx -o slim.onnx").status == 0
    Path("zeroed.onnx").unlink()
    for options, expected in (
        ("--init tiny:other", "do not belong together"),
        ("", "give the PyTorch model with --init"),
        ("--init tinny:net", "no module 'tinny'"),
        ("--init nothing.pt --model resnet20", "'nothing.pt' is no file"),
        ("--model resnet20", "--init"),
    ):
        result = cli(f"{prune} {options}")
        assert result.status == 2 and expected in result.err and result.err.count("\n") == 1, options
        assert not Path("zeroed.onnx").exists()


def test_bytes_are_those_of_the_shrunk_file(cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o zeroed.onnx --bytes 0.6").status == 0
    assert cli("shrink zeroed.onnx -o slim.onnx").status == 0
    assert Path("slim.onnx").stat().st_size <= 0.6 * Path(MODEL).stat().st_size


@pytest.mark.parametrize(
    "options", ["--scope local", "--per macs", "--per params", "--per latency", "--rounds 3", "--align 4"]
)
def test_ways_to_choose(options: str, cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o zeroed.onnx --macs 0.6 {options}").status == 0
    assert cli("shrink zeroed.onnx -o slim.onnx").status == 0
    assert sizes("slim.json")[1] <= 0.6


def test_alignment_and_protection_are_what_shrink_leaves(cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o zeroed.onnx --keep 0.67 --align 8 --protect b1").status == 0
    model = onnx.load("zeroed.onnx")
    live = {w.name: numpy_helper.to_array(w).reshape(w.dims[0], -1).any(1).sum() for w in model.graph.initializer}
    assert live["w1"] == 3 and live["w2"] == 8  # of the first, five were zero before


def test_latency_is_searched_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose latency is that of a model's parameters, but for the noise of short measurements."""
    noise = iter([0.05, -0.04, 0.03, -0.02] * 10)

    def bench(model: Path, against: Path, *, plan: object, **_: object) -> SimpleNamespace:
        one, two = (sum(np.prod(w.dims) for w in onnx.load(path).graph.initializer) for path in (model, against))
        error = next(noise) if plan is latency.QUICK else 0
        return SimpleNamespace(comparison=SimpleNamespace(ratio=SimpleNamespace(estimate=two / one * (1 + error))))

    monkeypatch.setattr(latency, "bench", bench)
    result = cli(f"prune {MODEL} -o zeroed.onnx --latency 0.57 --json told.json")
    told = json.loads(Path("told.json").read_text())
    assert abs(told["latency"] / 0.57 - 1) <= 0.03 and result.status == 0
    assert "asked for" in result.out
    assert cli(f"prune {MODEL} -o zeroed.onnx --latency 0.001").status == 2


def test_scores_are_kept_for_another_budget(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    kl = f"--criterion kl {DATA} --scores scores.json"
    assert cli(f"prune {MODEL} -o a.onnx --keep 0.7 {kl}").status == 0
    monkeypatch.delattr(MaskedModel, "means")
    assert cli(f"prune {MODEL} -o b.onnx --keep 0.5 {kl}").status == 0
    assert cli(f"prune {MODEL} -o b.onnx --keep 0.6 --per macs {kl}").status == 0


def test_scores_of_a_run_that_was_killed_are_beside_its_target(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pruning, "staged", interrupted)
        result = cli(f"prune {MODEL} -o a.onnx --keep 0.7 --criterion kl {DATA}")
        assert result.status == 130
    assert "a.onnx.scores.json" in result.out
    assert Path("a.onnx.scores.json").exists() and not Path("a.onnx").exists()
    monkeypatch.delattr(MaskedModel, "means")
    assert cli(f"prune {MODEL} -o a.onnx --keep 0.7 --criterion kl {DATA}").status == 0
    assert Path("a.onnx").exists() and not Path("a.onnx.scores.json").exists()


def test_a_budget_that_comes_out_smaller_is_told(cli: Cli) -> None:
    result = cli(f"prune {MODEL} -o zeroed.onnx --keep 0.9 --align 8")
    assert result.status == 0 and "of the channel classes are left, and 90.0% were asked for" in result.out


def test_what_cannot_be_reached_is_told_at_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(MaskedModel, "means")
    result = cli(f"prune {MODEL} -o zeroed.onnx --macs 0.001 --criterion kl {DATA}")
    assert result.status == 2 and "cannot be reached" in result.err


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_sensitivity(suffix: str, cli: Cli) -> None:
    result = cli(f"inspect {MODEL} --sensitivity {DATA} --json told.json --plot plot.{suffix}")
    assert result.status == 0 and "kl of 16 samples" in result.out
    told = json.loads(Path("told.json").read_text())["sensitivity"]
    assert told["distance"] == "kl" and told["accuracy"] is None
    assert [family["classes"] for family in told["families"]] == [8, 16]
    for family in told["families"]:
        assert len(family["removed"]) == len(family["distance"]) == 5
        assert family["distance"][-1] > family["distance"][0]
    assert Path(f"plot.{suffix}").stat().st_size > 1000


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--sensitivity", "--data, or --input"),
        ("--plot plot.png", "are for --sensitivity"),
        (f"--sensitivity {DATA} --criterion l3", "did you mean"),
        ("--sensitivity --input input=nan.npy", "NaN"),
    ],
)
def test_bad_options_of_sensitivity(options: str, expected: str, cli: Cli) -> None:
    result = cli(f"inspect {MODEL} {options}")
    assert result.status == 2 and expected in result.err and result.err.count("\n") == 1


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
        ("--keep 0.01", "are left with every class gone that may go"),
        ("--bytes 0.01", "cannot be reached"),
        ("--keep 0.5 --protect w9", "did you mean 'w"),
        ("--keep 0.5 --scope locl", "did you mean 'local'"),
        ("--keep 0.5 --per mac", "did you mean 'macs'"),
        ("--keep 0.5 --criterion kl", "--data, or --input"),
        ("--keep 0.5 --criterion bn-scale", "take another criterion"),
        ("--keep 0.5 --criterion kl --input input=nan.npy", "sample 3 of 'input' has NaN"),
        ("--keep 0.5 --criterion kl --input input=narrow.npy", "takes [N, 1, 8, 8]"),
        ("--keep 0.5 --criterion kl --input other=x.npy", "give it with --input input"),
        ("--keep 0.5 --criterion kl --input input=x.npy --data digits", "either --data or --input"),
        ("--keep 0.5 --criterion kl --input input=x.npy --scores text.onnx", "holds no scores"),
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


def test_repair_makes_up_for_what_is_gone(cli: Cli) -> None:
    assert cli(f"prune {MODEL} -o plain.onnx --criterion surgeon --macs 0.3 {DATA}").status == 0
    assert cli(f"prune {MODEL} -o fitted.onnx --criterion surgeon --macs 0.3 {DATA} --repair --json p.json").status == 0
    lost = []
    for name in ("plain", "fitted"):
        assert cli(f"shrink {name}.onnx -o slim.onnx").status == 0
        assert cli(f"verify slim.onnx --against {MODEL} --json v.json").status == 1
        lost.append(json.loads(Path("v.json").read_text())["parity"]["outputs"][0]["mean_abs"])
    assert lost[1] < lost[0]
    assert "not_repaired" in json.loads(Path("p.json").read_text())


def test_repair_needs_samples(cli: Cli) -> None:
    found = cli(f"prune {MODEL} -o zeroed.onnx --macs 0.6 --repair")
    assert found.status == 2 and "repair looks at activations" in found.err
    assert not Path("zeroed.onnx").exists()
