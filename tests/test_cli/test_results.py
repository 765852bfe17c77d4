"""What comes out: files, figures, exit statuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from onnx_files import CONSTANT, DEAD
from shell import Cli

import graph.files.io
from compress import __version__, shrinking
from compress.cli import app

VERBS = [command.name or "" for command in app.registered_commands]


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content["schema"] == 1
    return content


def test_version(cli: Cli) -> None:
    assert cli("--version").out == f"{__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str, cli: Cli) -> None:
    result = cli(f"{verb} --help")
    assert result.status == 0
    assert f"compress {verb}" in result.out.partition("Example:")[2]


def test_shrink_writes_a_smaller_model_and_its_certificate(here: Path, cli: Cli) -> None:
    result = cli("shrink net.onnx -o slim.onnx --data digits --json figures.json")
    assert (result.status, result.err) == (0, "")
    certificate = load(here / "slim.json")
    assert certificate.keys() >= {"schema", "input", "output", "removed", "kept_zero", "frozen", "check"}
    for side, name in (("input", "net.onnx"), ("output", "slim.onnx")):
        data = (here / name).read_bytes()
        assert certificate[side].keys() >= {"sha256", "parameters", "macs", "bytes"}
        assert certificate[side]["sha256"] == hashlib.sha256(data).hexdigest()
        assert certificate[side]["bytes"] == len(data)
    gone = sum(entry["channels"] for entry in certificate["removed"])
    assert len(DEAD) <= gone <= len(DEAD) + len(CONSTANT)
    for entry in certificate["removed"]:
        assert entry.keys() >= {"reason", "channels", "tensors", "absorbed_into"}
        assert entry["reason"] in ("zero", "constant", "unread")
    for entry in certificate["kept_zero"]:
        assert entry.keys() >= {"reason", "op", "channels", "tensors"}
    check = certificate["check"]
    assert check["inputs"] > 100 and check["provider"] == "CPUExecutionProvider"
    assert max(check["max_abs"], check["max_rel"]) < 1e-5
    assert load(here / "figures.json")["output"] == certificate["output"]
    kept = {tensor.name: tensor.dims[0] for tensor in onnx.load(here / "slim.onnx").graph.initializer}
    assert kept["w1"] == 8 - gone
    assert cli("verify slim.onnx --against net.onnx --data digits --max-drop 0").status == 0


def test_half_precision_is_judged_by_its_own_noise(cli: Cli) -> None:
    assert cli("shrink half.onnx -o slim.onnx").status == 0
    assert cli("verify slim.onnx --against half.onnx").status == 0
    assert cli("verify slim.onnx --against half.onnx --rtol 0 --atol 0").status in (0, 1)


def test_a_certificate_goes_where_it_should(here: Path, cli: Cli) -> None:
    assert cli("shrink net.onnx -o new/slim.onnx --certificate proof.json --no-verify").status == 0
    assert load(here / "proof.json")["check"] == {}
    assert [path.name for path in (here / "new").iterdir()] == ["slim.onnx"]


def test_weights_beyond_the_limit_of_protobuf_lie_beside_the_model(
    here: Path, cli: Cli, files: Callable[[], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files()
    monkeypatch.setattr(graph.files.io, "PROTOBUF_LIMIT", 1000)
    assert cli("shrink net.onnx -o slim.onnx").status == 0
    (data,) = files().keys() - before.keys() - {"slim.onnx", "slim.json"}
    assert data.startswith("slim.onnx")
    size = (here / "slim.onnx").stat().st_size + (here / data).stat().st_size
    assert load(here / "slim.json")["output"]["bytes"] == size
    assert cli("verify slim.onnx --against net.onnx").status == 0


def test_different_models_are_different(here: Path, cli: Cli) -> None:
    result = cli("verify net.onnx --against other.onnx --json figures.json")
    assert result.status == 1
    assert result.err.startswith("compress: net.onnx and other.onnx differ by ")
    figures = load(here / "figures.json")
    assert not figures["equal"]
    assert figures["parity"]["max_rel"] > 0.01
    assert cli("verify net.onnx --against other.onnx --rtol 1e6").status == 0


def test_accuracy_may_drop_by_what_was_declared(here: Path, cli: Cli) -> None:
    figures = []
    for a, b in (("net", "other"), ("other", "net")):
        cli(f"verify {a}.onnx --against {b}.onnx --data digits --json figures.json")
        figures.append((load(here / "figures.json")["accuracy"]["drop"], f"verify {a}.onnx --against {b}.onnx"))
    drop, line = max(figures)
    assert drop > 0
    assert cli(f"{line} --data digits --max-drop {drop + 0.1}").status == 0
    result = cli(f"{line} --data digits --max-drop {drop - 0.1}")
    assert result.status == 1
    assert "points of accuracy" in result.err


def test_bench(here: Path, cli: Cli) -> None:
    line = "bench net.onnx --against other.onnx --seconds 0.1 --batch 1,4 --json figures.json --plot times.png"
    assert cli(line).status == 0
    first, second = load(here / "figures.json")["results"]
    assert [next(iter(each["settings"]["inputs"].values()))[0] for each in (first, second)] == [1, 4]
    assert len(first["samples"]["candidate"]) == len(first["samples"]["reference"]) > 0
    assert first["comparison"]["ratio"]["estimate"] > 0
    assert (here / "times.png").read_bytes().startswith(b"\x89PNG")
    result = cli("bench net.onnx --against net.onnx --seconds 0.1 --min-speedup 1000")
    assert result.status == 1
    assert "less than the 1000 asked for" in result.err


def _wrong(model: ModelProto) -> ModelProto:
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights.flat[np.abs(weights).argmax()] *= 1.5
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, model.graph.initializer[0].name))
    return model


def _broken(model: ModelProto) -> ModelProto:
    del model.graph.initializer[0]
    return model


@pytest.mark.parametrize(("harm", "expected"), [(_wrong, "differ by"), (_broken, "does not")])
def test_a_surgery_that_goes_wrong_writes_nothing(
    harm: Callable[[ModelProto], ModelProto],
    expected: str,
    cli: Cli,
    files: Callable[[], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact, before = shrinking.graph.shrink, files()

    def shrink(model: ModelProto, **options: Any) -> Any:
        slim, certificate = exact(model, **options)
        return harm(slim), certificate

    monkeypatch.setattr(shrinking.graph, "shrink", shrink)
    result = cli("shrink net.onnx -o precious.onnx")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert expected in result.err and "nothing was written" in result.err
    assert files() == before


def test_tables_fit_80_columns_and_print_names_as_they_are(here: Path, cli: Cli) -> None:
    model = onnx.load(here / "net.onnx")
    long = "encoder.layers.11.[/red]self_attention.query_projection.weight"
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            tensor.name = long
    model.graph.node[0].input[1] = long
    onnx.save(model, here / "long.onnx")
    for line in (
        "shrink long.onnx -o slim.onnx",
        "verify slim.onnx --against long.onnx --data digits",
        "bench slim.onnx --against long.onnx --seconds 0.1",
    ):
        result = cli(line)
        assert result.status == 0, result.err
        assert all(len(text) <= 80 for text in result.out.splitlines() if "  " in text)
        if "shrink" in line:
            assert "[/red]" in result.out


@pytest.mark.parametrize(("option", "classes"), [("--classes 7", 7), ("", 10)])  # Net has ten by itself
def test_export_of_a_callable(option: str, classes: int, here: Path, cli: Cli) -> None:
    result = cli(f"export cli_nets:Net -o net2.onnx --input 1x8x8 {option} --json figures.json")
    assert (result.status, result.err) == (0, "")
    shape = onnx.load(here / "net2.onnx").graph.output[0].type.tensor_type.shape.dim
    assert shape[0].dim_param and shape[1].dim_value == classes
    assert load(here / "figures.json")["parity"]["max_rel"] < 1e-4


@pytest.mark.slow
def test_the_whole_way_in_silence(here: Path, cli: Cli) -> None:
    for line in (
        "train --model cli_nets:Net --epochs 2 --train-limit 200 --device cpu --out run --json train.json",
        "export run -o model.onnx --json export.json",
        "export run/checkpoint.pt -o same.onnx",
        "shrink model.onnx -o slim.onnx --data digits --json shrink.json",
        "verify slim.onnx --against model.onnx --data digits --json verify.json",
        "verify same.onnx --against model.onnx --data digits",
        "bench slim.onnx --against model.onnx --seconds 0.1 --json bench.json",
        "train --resume --out run",
    ):
        result = cli(f"{line} --quiet")
        assert (result.status, result.out, result.err) == (0, "", ""), line
    assert load(here / "train.json")["zeros"] == 0.5
    assert load(here / "export.json")["real_inputs"]
    assert load(here / "shrink.json")["output"]["parameters"] < load(here / "shrink.json")["input"]["parameters"]
    assert load(here / "verify.json")["accuracy"]["lost"] == 0
    assert load(here / "bench.json")["results"]
    assert {path.name for path in (here / "run").iterdir()} == {
        *("config.toml", "checkpoint.pt", "metrics.jsonl", "summary.json")
    }
