from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from bundles import npz, sign, write_bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import check as checking
from runtime.bundle import CARD, GOLDEN, MANIFEST, MODEL, open_bundle, seal
from runtime.check import main
from runtime.errors import SessionError
from runtime.session import open_session

NO_PORTS = {"inputs": [], "outputs": []}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "whole")


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def refused(capsys, monkeypatch):
    """The one line about a bundle that is not what it says, and whose model was never run."""

    def look(folder: Path, *, opened: bool = False) -> str:
        if not opened:
            monkeypatch.setattr(checking, "open_session", lambda *_: pytest.fail("the model was opened"))
        assert main([str(folder)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("check: ") and err.count("\n") == 1
        return err

    return look


def test_a_whole_bundle_holds(whole, capsys, tmp_path):
    assert main([str(whole), "--json", str(tmp_path / "told.json")]) == 0
    out, err = capsys.readouterr()
    *outputs, verdict = out.splitlines()
    assert err == "" and [line.partition(":")[0] for line in outputs] == ["y", "best"]
    assert "allowed 1e-06 + 0.0001 * 2" in outputs[0] and "two gives the recorded outputs on 6 inputs" in verdict
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["equal"] and told["parity"]["max_abs"] == 0
    assert told["session"]["nodes"] == {"CPUExecutionProvider": {"ArgMax": 1, "Mul": 1}}


def test_other_outputs_fail_the_check(tmp_path, capsys):
    off = write_bundle(tmp_path / "off", factor=2.01)
    assert main([str(off)]) == 1
    assert "two does not give the recorded outputs" in capsys.readouterr().out
    wide = {"rtol": 1e-4, "atol": 1e-6, "outputs": {"y": {"rtol": 0.1, "atol": 0}}}
    sign(off, tolerances=wide)
    assert main([str(off)]) == 0
    sign(off, tolerances=wide | {"outputs": {"best": {"rtol": 1, "atol": 9}}})
    assert main([str(off)]) == 1


@given(st.data())
@settings(deadline=None)
def test_one_flipped_bit_is_seen_wherever_it_is(whole, data):
    path = whole / data.draw(st.sampled_from(sorted(file.name for file in whole.iterdir())))
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    broken = bytearray(content)
    broken[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        path.write_bytes(broken)
        with pytest.raises(SessionError) as caught:
            open_bundle(whole)
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("name", [MANIFEST, MODEL, GOLDEN, CARD])
def test_a_missing_file_is_named(bundle, refused, name):
    (bundle / name).unlink()
    assert name in refused(bundle)


def test_what_is_one_too_many_is_named(bundle, refused):
    (bundle / "libcustom.so").write_bytes(b"code")
    assert "libcustom.so" in refused(bundle)


@pytest.mark.parametrize("inside", [True, False])
def test_links_are_not_followed(bundle, refused, inside):
    content = (bundle / MODEL).read_bytes()
    target = bundle.parent / "elsewhere.onnx"
    target.write_bytes(content)
    (bundle / MODEL).unlink()
    (bundle / MODEL).symlink_to(target if not inside else Path("..", "elsewhere.onnx"))
    assert "model.onnx is a link" in refused(bundle)


def test_folders_and_pipes_are_no_files(bundle, refused):
    (bundle / "more").mkdir()
    assert "more is no file" in refused(bundle)
    (bundle / "more").rmdir()
    os.mkfifo(bundle / "pipe")
    assert "pipe is no file" in refused(bundle)


def test_what_is_no_bundle_at_all(tmp_path, refused):
    assert "no such" in refused(tmp_path / "nowhere").lower()
    (tmp_path / "file").touch()
    assert "directory" in refused(tmp_path / "file").lower()
    assert "no manifest.json" in refused(tmp_path)


def test_a_newer_schema_says_what_to_do(bundle, refused):
    sign(bundle, schema=2)
    assert "upgrade onnx-compress" in refused(bundle)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["schema", "model", "files", "tolerances", "io_ports"]), JSON)
@settings(deadline=None, max_examples=200)
def test_a_manifest_of_any_other_form_is_refused_or_harmless(whole, field, value):
    content = json.loads((whole / MANIFEST).read_text())
    original = (whole / MANIFEST).read_bytes()
    del content["digest"]
    try:
        (whole / MANIFEST).write_bytes(seal(content | {field: value}))
        status = main([str(whole)])
        assert status == 2 or field == "model" or content[field] == value
    finally:
        (whole / MANIFEST).write_bytes(original)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b"[" * 100_000, b'{"schema": NaN}', b'{"schema": 1, "digest": 0}']
)
def test_a_manifest_that_is_none(bundle, refused, content):
    (bundle / MANIFEST).write_bytes(content)
    assert "was changed or is damaged" in refused(bundle)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (npz(np.savez_compressed, **{"inputs/0/x": np.zeros(10**8, np.uint8)}), "unpacks to"),
        (npz(**{"inputs/0/x": np.array([Bomb()], dtype=object)}), "Python objects"),
        (npz(**{"elsewhere/0/x": np.zeros(3)}), "neither an input nor an output"),
        (npz(), "no cases"),
        (b"PK", "no npz file"),
        (npz(**{"inputs/0/x": np.zeros((1, 3), np.float32)}), "other outputs"),
        (npz(**{"inputs/0/z": np.zeros((1, 3), np.float32), "outputs/0/y": np.zeros(1)}), "does not run"),
    ],
)
def test_golden_files_that_are_meant_badly(bundle, refused, content, expected):
    (bundle / GOLDEN).write_bytes(content)
    sign(bundle)
    assert expected in refused(bundle, opened=True)


def test_a_model_that_is_not_what_the_manifest_says(bundle, refused):
    (bundle / MODEL).write_bytes(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]>\ng (float[N,4] x) => (float[N,4] y) { y = Neg(x) }'
        ).SerializeToString()
    )
    ports = open_session(bundle / MODEL).ports()
    ports["inputs"][0]["name"] = "u"
    sign(bundle, io_ports=ports)
    assert "other inputs and outputs" in refused(bundle, opened=True)


def test_custom_operators_bring_no_code(bundle, refused):
    text = '<ir_version: 10, opset_import: ["" : 20, "evil" : 1]>\ng (float[3] x) => (float[3] y) { y = evil.Run(x) }'
    (bundle / MODEL).write_bytes(onnx.parser.parse_model(text).SerializeToString())
    sign(bundle, io_ports=NO_PORTS)
    assert "evil" in refused(bundle, opened=True)


def test_weights_outside_the_bundle_are_not_read(bundle, refused):
    (bundle.parent / "secret.bin").write_bytes(np.ones(3, np.float32).tobytes())
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]>\ng (float[3] x) => (float[3] y) { y = Add(x, w) }'
    )
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[3], data_location=1)
    tensor.external_data.add(key="location", value="../secret.bin")
    (bundle / MODEL).write_bytes(model.SerializeToString())
    sign(bundle, io_ports=NO_PORTS)
    assert "External data path" in refused(bundle, opened=True)


ALONE = """
import runpy, sys

class Ban:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "typer", "pydantic", "onnx", "rich", "scipy", "graph", "compress"):
            raise RuntimeError(f"{name} was imported")

sys.meta_path.insert(0, Ban())
sys.argv[0] = "check"
runpy.run_module("runtime.check", run_name="__main__")
"""


def test_numpy_and_onnxruntime_suffice(whole):
    for line in ([sys.executable, "-c", ALONE, str(whole)], [sys.executable, "-m", "runtime.check", str(whole)]):
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "gives the recorded outputs" in done.stdout
