"""What `compress verify` compares, and with what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from shell import Cli

TWO_INPUTS = """<ir_version: 10, opset_import: ["" : 20]>
two (float[N,S] x, int64 k, float[2,N] h) => (float[N,S] y, float[N] s) <float f = {%s}> {
    c = Cast<to = 1>(k)  z = Mul(x, c)  y = Mul(z, f)  a = Constant<value = int64[1] {0}>()
    s = ReduceSum<keepdims = 0>(h, a)
}"""


def load(path: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(path).read_text())
    return content


def write(name: str, text: str) -> None:
    onnx.save(onnx.parser.parse_model(text), name)


def damage(source: str, target: str, tensor: str) -> None:
    """The model with the weights of ``tensor`` a little too large."""
    model = onnx.load(source)
    (found,) = (each for each in model.graph.initializer if each.name == tensor)
    found.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(found) * np.float32(1.01), tensor))
    onnx.save(model, target)


def test_everything_that_was_found_is_in_the_json(cli: Cli) -> None:
    assert cli("verify net.onnx --against net.onnx --data digits --json told.json").status == 0
    told = load("told.json")
    (output,) = told["parity"]["outputs"]
    zero = dict.fromkeys(("max_abs", "max_rel", "mean_abs", "mean_rel"), 0.0)
    assert output.items() >= {**zero, "cosine": 1.0, "mismatches": 0}.items()
    assert output["rows"] == output["argmax_equal"] == told["parity"]["inputs"] > told["accuracy"]["images"] == 359
    assert len(told["parity"]["shapes"]) > 1  # several batch sizes
    assert told["accuracy"]["p_value"] == 1 and told["accuracy"]["metric"] == "accuracy"
    assert told["tolerances"] == {"rtol": 1e-4, "atol": 1e-6, "outputs": {}}
    assert told["files"]["model"] == told["files"]["against"]
    for side in ("candidate", "reference"):
        assert told["sessions"][side]["nodes"]["CPUExecutionProvider"]["Gemm"] == 1
    assert told["sessions"]["environment"]["onnxruntime"]


def test_settings_reach_the_sessions_and_the_json(cli: Cli) -> None:
    options = "--session threads=2 --session affinity=1 --session spinning=off --session optimisation=basic"
    assert cli(f"verify net.onnx --against net.onnx {options} --session free-dims=N:3 --json told.json").status == 0
    told = load("told.json")
    expected = {"threads": 2, "affinity": "1", "spinning": False, "optimisation": "basic", "free_dims": {"N": 3}}
    assert told["sessions"]["candidate"].items() >= expected.items()
    assert [shape["input"][0] for shape in told["parity"]["shapes"]] == [3]


def test_several_inputs_and_given_ones(cli: Cli) -> None:
    for factor in ("1", "1.1"):
        write(f"two{factor}.onnx", TWO_INPUTS % factor)
    line = "verify two1.onnx --against two1.1.onnx --json told.json"
    assert cli(f"{line} --input k=3").status == 1
    assert cli(f"{line} --input k=0").status == 0  # times 0 hides the factor
    np.savez("inputs.npz", x=np.zeros((4, 5), np.float32), h=np.ones((2, 4), np.float32))
    np.save("x.npy", np.zeros((4, 5), np.float32))
    assert cli(f"{line} --input k=3 --input x=inputs.npz --input h=inputs.npz").status == 0
    assert load("told.json")["parity"]["shapes"] == [{"x": [4, 5], "k": [], "h": [2, 4]}]
    assert cli(f"{line} --input x=x.npy").status == 0
    assert cli(f"{line} --input k=1 --dim S=7").status == 1
    assert {shape["x"][1] for shape in load("told.json")["parity"]["shapes"]} == {7}


def test_outputs_may_have_tolerances_of_their_own(cli: Cli) -> None:
    for factor in ("1", "1.1"):
        write(f"two{factor}.onnx", TWO_INPUTS % factor)
    line = "verify two1.onnx --against two1.1.onnx --input k=1"
    assert cli(f"{line} --tolerance s=1,1").status == 1
    assert cli(f"{line} --tolerance y=0.2,0 --json told.json").status == 0
    assert load("told.json")["tolerances"]["outputs"] == {"y": {"rtol": 0.2, "atol": 0.0}}
    assert cli(f"{line} --rtol 0.2 --tolerance y=0.05,0").status == 1


def test_bisect_names_the_first_tensor_that_differs(cli: Cli) -> None:
    damage("net.onnx", "off.onnx", "w2")
    result = cli("verify off.onnx --against net.onnx --bisect --json told.json")
    assert result.status == 1
    found = load("told.json")["bisection"]
    assert (found["first"]["name"], found["compared"], found["skipped"]) == ("c", 3, 0)
    assert "'c' of Conv" in result.out
    assert cli("verify net.onnx --against net.onnx --bisect --json told.json").status == 0
    assert load("told.json")["bisection"] is None


def test_bisect_follows_the_certificate_through_a_shrink(cli: Cli) -> None:
    assert cli("shrink net.onnx -o slim.onnx").status == 0
    for tensor, first in (("w1", "a"), ("w2", "c"), ("w3", "output")):
        damage("slim.onnx", "off.onnx", tensor)
        line = "verify off.onnx --against net.onnx --bisect --json told.json"
        assert cli(f"{line} --certificate slim.json").status == 1
        found = load("told.json")["bisection"]
        assert (found["first"]["name"], found["skipped"]) == (first, 0)  # activations follow their weights
    damage("slim.onnx", "off.onnx", "w1")
    result = cli(line)
    assert result.status == 1 and "have lost channels and were not compared" in result.out
    assert load("told.json")["bisection"]["first"]["name"] == "c"  # what reads the difference


OWN = """
import numpy as np
from compress.data import Source
from compress.data.digits import digits

class Maps:
    \"\"\"Digits whose bright pixels are class 1; the border is judged by nobody.\"\"\"

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def batches(self, size, spec):
        for start in range(0, len(self), size):
            pixels = self.images.images[start : start + size]
            labels = (pixels[:, 0] > 127).astype(np.int64)
            labels[:, [0, -1]] = 255
            yield spec.normalise(pixels), labels

def maps():
    from dataclasses import replace
    source = digits()
    test = source.test
    return Source(replace(source.spec, classes=2, class_names=("dark", "bright")), source.train, lambda: Maps(test()))

def seven():
    from dataclasses import replace
    source = digits()
    test = source.test()
    spec = replace(source.spec, classes=7, class_names=tuple("0123456"))
    return Source(spec, source.train, lambda: test.subset(np.flatnonzero(test.labels < 7)))

def closeness(outputs, labels):
    return 1 / (1 + np.abs(outputs["y"]).mean((1, 2, 3)))

def broken(outputs, labels):
    raise KeyError("no")
"""
SEGMENTS = """<ir_version: 10, opset_import: ["" : 20]>
seg (float[N,1,8,8] x) => (float[N,2,8,8] y) <float k = {%s}> { b = Sub(x, k) d = Neg(b) y = Concat<axis = 1>(d, b) }"""


@pytest.fixture
def own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "own_data.py").write_text(OWN)
    threshold = (127.5 / 255 - 0.3050) / 0.3757
    write("right.onnx", SEGMENTS % threshold)
    write("wrong.onnx", SEGMENTS % "1.5")


def test_segmentation(own: None, cli: Cli) -> None:
    line = "verify wrong.onnx --against right.onnx --data own_data:maps --task segmentation --json told.json"
    assert cli(line).status == 1
    accuracy = load("told.json")["accuracy"]
    assert accuracy["metric"] == "mean IoU" and accuracy["reference"] == 100 > accuracy["candidate"] > 0
    assert accuracy["lost"] > accuracy["gained"] == 0 and accuracy["p_value"] < 1e-6
    assert cli(f"{line} --max-drop 100").status == 0
    assert cli(f"{line} --max-drop 0.1").status == 1


def test_tasks_of_other_people(own: None, cli: Cli) -> None:
    line = "verify right.onnx --against right.onnx --data own_data:maps --task own_data:closeness --json told.json"
    assert cli(line).status == 0
    assert load("told.json")["accuracy"]["metric"] == "closeness"
    result = cli(line.replace("closeness", "broken"))
    assert result.status == 2 and "'own_data:broken' failed: KeyError" in result.err


def test_data_of_other_classes_is_refused(own: None, cli: Cli) -> None:
    result = cli("verify net.onnx --against net.onnx --data own_data:seven")
    assert result.status == 2 and "has 10 classes and the data 7" in result.err
    result = cli("verify net.onnx --against net.onnx --data own_data:maps --task segmentation")
    assert result.status == 2 and "one score per class" in result.err


def test_files_with_inputs_that_are_meant_badly(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.inputs.LIMIT", 10**6)
    np.savez_compressed("bomb.npz", input=np.zeros(10**7, np.uint8))
    np.savez("objects.npz", input=np.array([print], dtype=object))
    np.savez("others.npz", a=np.zeros(1), b=np.zeros(1))
    for name, expected in (("bomb", "unpacks to"), ("objects", "Python objects"), ("others", "has no array 'input'")):
        result = cli(f"verify net.onnx --against net.onnx --input input={name}.npz")
        assert result.status == 2 and expected in result.err and result.err.count("\n") == 1


@pytest.mark.slow
def test_third_party_files(shared_data: Path, cli: Cli) -> None:
    for path in sorted((shared_data / "onnx").glob("*.onnx")):
        sr = "--input sr=16000" if path.stem == "silero_vad_v4" else ""
        assert cli(f"verify {path} --against {path} {sr} --quiet").status == 0
