"""What `compress package` hands over, and what `compress verify` makes of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_files import network
from shell import Cli

from compress.data import load
from runtime.golden import read_golden
from runtime.session import open_session
from runtime.settings import Settings

PLAIN = Settings(optimisation="off", threads=1)
FOUR = {"MODEL_CARD.md", "golden.npz", "manifest.json", "model.onnx"}


def manifest(folder: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(folder, "manifest.json").read_text())
    return content


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_a_bundle_checks_by_itself(here: Path, cli: Cli) -> None:
    result = cli("package net.onnx -o out/bundle --json told.json")
    assert (result.status, result.err) == (0, "")
    assert contents("out/bundle").keys() == FOUR
    assert json.loads(Path("told.json").read_text())["equal"]
    assert cli("verify out/bundle").status == 0
    done = subprocess.run(
        [sys.executable, "-m", "runtime.check", "out/bundle"], cwd=here, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "") and "net gives the recorded outputs" in done.stdout


def test_equal_files_give_equal_bytes(cli: Cli) -> None:
    for name in ("one", "two"):
        assert cli(f"package net.onnx -o {name} --data digits --author Me --license mit").status == 0
    assert contents("one") == contents("two")
    assert cli("package other.onnx -o two --name net").status == 0  # a bundle may be replaced
    assert contents("one").keys() == contents("two").keys()
    assert contents("one")["model.onnx"] != contents("two")["model.onnx"]


def test_what_other_commands_found_out_goes_along(here: Path, cli: Cli) -> None:
    for line in (
        "shrink net.onnx -o slim.onnx",
        "verify slim.onnx --against net.onnx --data digits --json verify.json",
        f"bench {here / 'slim.onnx'} --against net.onnx --seconds 0.1 --json bench.json",
        "package slim.onnx -o bundle --certificate slim.json --verify verify.json --bench bench.json --data digits",
        "verify bundle",
    ):
        assert cli(line).status == 0, line
    assert contents("bundle").keys() == FOUR | {"certificate.json", "bench.json"}
    told = manifest("bundle")
    certificate = json.loads(Path("slim.json").read_text())
    assert (
        told["shrunk"]["before"] == certificate["input"] and told["source"]["sha256"] == certificate["output"]["sha256"]
    )
    assert told["shrunk"]["removed"]["w1[0]"] == sum(
        entry["channels"] for entry in certificate["removed"] if "w1[0]" in entry["tensors"]
    )
    assert told["verification"]["accuracy"]["images"] == 359
    (row,) = told["latency"]
    assert row["median"] > 0 and row["speedup"]["estimate"] > 0
    assert told["labels"] == list("0123456789") and told["preprocessing"]["mean"] == [0.305]
    assert told["golden"]["inputs"] == "test images of digits"
    card = contents("bundle")["MODEL_CARD.md"].decode()
    assert f"| parameters | {certificate['input']['parameters']:,} |" in card and "accuracy on 359 images" in card
    warned = f"{1e3 * row['median']:.3f} ms ({row['stability']})" in card
    assert warned == (row["stability"] != "stable")
    assert str(here).encode() not in b"".join(contents("bundle").values())


def test_golden_outputs_are_those_of_the_model_before_packaging(cli: Cli) -> None:
    assert cli("package net.onnx -o bundle").status == 0
    session = open_session(Path("net.onnx"), PLAIN)
    cases = read_golden(Path("bundle/golden.npz"))
    assert len(cases) == 8 and len({len(feeds["input"]) for feeds, _ in cases}) == 3
    for feeds, expected in cases:
        np.testing.assert_array_equal(session.run(feeds)["output"], expected["output"])


@pytest.mark.parametrize("source", ["net.onnx", "half.onnx"])
@pytest.mark.parametrize("data", ["", "--data digits"])
def test_preprocessing_and_labels_inside_change_nothing(source: str, data: str, cli: Cli) -> None:
    spec = load("digits").spec
    if not data:  # then the model itself has to know
        model = onnx.load(source)
        scaling = {"scale": 1 / 255, "mean": spec.mean, "std": spec.std, "layout": "NCHW"}
        metadata = {"preprocessing": json.dumps(scaling), "labels": json.dumps(spec.class_names)}
        onnx.helper.set_model_props(model, metadata)
        source = "knowing.onnx"
        onnx.save(model, source)
    assert cli(f"package {source} -o bundle --inside preprocessing,labels {data}").status == 0
    assert cli("verify bundle").status == 0
    outer, inner = open_session(Path("bundle/model.onnx"), PLAIN), open_session(Path(source), PLAIN)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)
    expected = inner.run({"input": spec.normalise(pixels).astype(inner.inputs[0].dtype)})["output"]
    found = outer.run({"pixels": pixels})
    half = inner.inputs[0].dtype == np.float16  # the CPU has no kernels for it, and onnxruntime skips some rounding
    np.testing.assert_allclose(found["output"], expected, rtol=0, atol=2e-3 if half else 0)
    assert (found["class"] == expected.argmax(1)).all()
    assert found["label"].tolist() == [spec.class_names[each] for each in expected.argmax(1)]
    metadata = {entry.key: entry.value for entry in onnx.load("bundle/model.onnx").metadata_props}
    assert metadata["Image.NominalPixelRange"] == "NominalRange_0_255"
    assert "preprocessing" not in metadata and json.loads(metadata["labels"]) == list(spec.class_names)


@pytest.mark.parametrize("version", [3, 10])
def test_what_goes_inside_is_valid_onnx(version: int, cli: Cli) -> None:
    model = network()
    model.ir_version = version
    if version == 3:  # initializers are inputs, too
        model.opset_import[0].version = 9
        weights = [onnx.helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in model.graph.initializer]
        model.graph.input.extend(weights)
    onnx.save(model, "old.onnx")
    assert cli("package old.onnx -o bundle --inside preprocessing,labels --data digits").status == 0
    onnx.checker.check_model("bundle/model.onnx", full_check=True)
    assert [port["name"] for port in manifest("bundle")["io_ports"]["inputs"]] == ["pixels"]


def test_what_exporters_note_down_for_themselves_stays_at_home(cli: Cli) -> None:
    model = network()
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/secret/train.py")
    model.metadata_props.add(key="task", value="digits")
    onnx.save(model, "traced.onnx")
    assert cli("package traced.onnx -o bundle --name six").status == 0
    assert b"secret" not in b"".join(contents("bundle").values())
    packaged = onnx.load("bundle/model.onnx")
    assert re.fullmatch(r"six-[0-9a-f]{12}", packaged.graph.name)
    assert [(entry.key, entry.value) for entry in packaged.metadata_props] == [("task", "digits")]


def test_outputs_that_depend_on_the_settings_get_more_room(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("package half.onnx -o narrow").status == 0
    assert manifest("narrow")["tolerances"]["outputs"] == {}
    assert len(manifest("narrow")["tolerances"]["measured"]) == 4
    monkeypatch.setattr("compress.bundle.recording.MARGIN", 1e6)
    assert cli("package net.onnx -o wide").status == 0
    measured = [each["outputs"]["output"]["max_abs"] for each in manifest("wide")["tolerances"]["measured"]]
    allowed = manifest("wide")["tolerances"]["outputs"]["output"]
    assert allowed == {"rtol": 1e-4, "atol": pytest.approx(1e6 * max(measured))}


@pytest.fixture
def refused(cli: Cli, files: Callable[[], dict[str, bytes]]) -> Callable[[str], str]:
    def check(line: str) -> str:
        before = files()
        result = cli(line)
        assert result.status == 2, result
        assert re.fullmatch(r"compress: [^\n]+\n", result.err), result.err
        assert files() == before
        return result.err

    return check


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-o net.onnx", "it is a file, not a folder"),
        ("-o mine", "holds something else than a bundle"),
        ("-o bundle --inside labels", "--inside labels.*--data"),
        ("-o bundle --inside preprocesing", "did you mean 'preprocessing'"),
        ("-o bundle --data digts", "did you mean 'digits'"),
        ("-o bundle --certificate slim.json", "slim.json is about another model"),
        ("-o bundle --certificate missing.json", "cannot read missing.json"),
        ("-o bundle --certificate text.onnx", "text.onnx is no certificate"),
        ("-o bundle --certificate verify.json", "verify.json is no certificate"),
        ("-o bundle --verify verify.json", "verify.json is about another model"),
        ("-o bundle --verify slim.json", "slim.json is no result of compress verify"),
        ("-o bundle --bench bench.json", "bench.json is about other.onnx, not net.onnx"),
        ("-o bundle --bench slim.json", "slim.json is no result of compress bench"),
        ("-o bundle --dim height=3", "no dynamic size 'height'"),
        ("-o bundle --dim N=0", "--dim N=0: give a whole number from 1"),
        ("-o bundle --input x=1", "no input 'x'"),
    ],
)
def test_bad_wishes(options: str, expected: str, here: Path, cli: Cli, refused: Callable[[str], str]) -> None:
    (here / "mine").mkdir()
    (here / "mine/thesis.txt").write_text("not to be touched")
    assert cli("shrink net.onnx -o slim.onnx").status == 0
    assert cli("verify other.onnx --against other.onnx --json verify.json").status == 0
    assert cli("bench other.onnx --seconds 0.1 --json bench.json").status == 0
    assert re.search(expected, message := refused(f"package net.onnx {options}")), message


def test_a_measurement_of_another_model_of_the_same_name(here: Path, cli: Cli, refused: Callable[[str], str]) -> None:
    (here / "old").mkdir()
    (here / "old/net.onnx").write_bytes((here / "other.onnx").read_bytes())
    assert cli("bench old/net.onnx --seconds 0.1 --json bench.json").status == 0
    assert "another net.onnx" in refused("package net.onnx -o bundle --bench bench.json")


@pytest.mark.parametrize("source", ["missing.onnx", "empty.onnx", "truncated.onnx", "text.onnx", "folder"])
def test_bad_models(source: str, refused: Callable[[str], str]) -> None:
    assert source in refused(f"package {source} -o bundle")


def test_outputs_that_nobody_can_check(
    here: Path, refused: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '<ir_version: 10, opset_import: ["" : 20]> g (float[4] x) => (seq(float[1]) y) { y = SplitToSequence(x) }'
    onnx.save(onnx.parser.parse_model(text), here / "parts.onnx")
    assert "'y' is a seq" in refused("package parts.onnx -o bundle")
    monkeypatch.setattr("compress.bundle.recording.MARGIN", 1e9)  # the tolerance would be larger than the output
    assert "depends on onnxruntime's settings" in refused("package net.onnx -o bundle")


def test_data_that_does_not_fit_the_model(refused: Callable[[str], str], here: Path) -> None:
    refused("package colour.onnx -o bundle --data digits")
    refused("package colour.onnx -o bundle --data digits --inside preprocessing")
    model = network()
    onnx.helper.set_model_props(model, {"labels": json.dumps(["cat", "dog"])})
    onnx.save(model, "cats.onnx")
    assert "made for other data than digits" in refused("package cats.onnx -o bundle --data digits")


def test_a_damaged_bundle_is_refused_and_a_wrong_one_fails(here: Path, cli: Cli, refused: Callable[[str], str]) -> None:
    assert cli("package net.onnx -o bundle").status == 0
    assert "checked by what is in it" in refused("verify bundle --data digits")
    golden = here / "bundle/golden.npz"
    golden.write_bytes(golden.read_bytes()[:-1] + b"x")
    assert "golden.npz is not the file that was packaged" in refused("verify bundle")
    assert "no manifest.json" in refused("verify folder")
    assert "--against" in refused("verify net.onnx")
