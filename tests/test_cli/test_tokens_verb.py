"""Fewer tokens, from the command line."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from shell import Cli
from token_nets import Transformer

DATA = "--input x=x.npy --samples 8"


@pytest.fixture(autouse=True)
def transformers(here: Path) -> None:
    onnx.save(Transformer("split", "class", blocks=2).model(), "vit.onnx")
    onnx.save(Transformer("apart", "mean", blocks=2).model(), "mean.onnx")
    np.save("x.npy", np.random.default_rng(0).normal(size=(9, 3, 8, 8)).astype(np.float32))


def test_unread_tokens_go_and_nothing_changes(cli: Cli) -> None:
    assert cli("tokens vit.onnx -o slim.onnx --json t.json").status == 0
    told = json.loads(Path("t.json").read_text())
    assert told["schema"] == 1 and told["exact"] and told["output"]["macs"] < told["input"]["macs"]
    assert cli("verify slim.onnx --against vit.onnx").status == 0


def test_what_is_read_stays(cli: Cli) -> None:
    result = cli("tokens mean.onnx -o slim.onnx")
    assert result.status == 0 and "every token is read" in result.out
    assert cli("verify slim.onnx --against mean.onnx").status == 0


@pytest.mark.parametrize("model", ["vit", "mean"])
def test_budgets(model: str, cli: Cli) -> None:
    assert cli(f"tokens {model}.onnx -o slim.onnx --macs 0.4 {DATA} --json t.json").status == 0
    told = json.loads(Path("t.json").read_text())
    assert not told["exact"] and told["distance"] > 0 and told["parity"]["max_rel"] < 1e-5
    assert told["output"]["macs"] <= 0.4 * told["input"]["macs"]
    kept = [set(level["kept"]) for level in told["levels"]]
    assert all(later <= earlier for earlier, later in pairwise(kept))
    assert len(kept[0]) == told["levels"][0]["tokens"]
    assert cli(f"verify slim.onnx --against {model}.onnx").status == 1

    error = told["distance"] / 2
    assert cli(f"tokens {model}.onnx -o less.onnx --error {error} {DATA} --json u.json").status == 0
    less = json.loads(Path("u.json").read_text())
    assert 0 < less["distance"] <= error
    assert told["output"]["macs"] < less["output"]["macs"] < told["input"]["macs"]


def test_scores_are_kept_where_asked_for_and_vanish_elsewhere(cli: Cli) -> None:
    assert cli(f"tokens vit.onnx -o slim.onnx --macs 0.6 {DATA}").status == 0
    assert not list(Path().glob("*.scores.json"))
    assert cli(f"tokens vit.onnx -o slim.onnx --macs 0.6 {DATA} --scores s.json").status == 0
    before = Path("s.json").read_text()
    assert cli(f"tokens vit.onnx -o again.onnx --macs 0.6 {DATA} --scores s.json").status == 0
    assert Path("s.json").read_text() == before
    assert Path("again.onnx").read_bytes() == Path("slim.onnx").read_bytes()


def test_a_model_that_does_not_run_is_named(cli: Cli) -> None:
    """ONNX Runtime spreads no mask over queries."""
    text = """<ir_version: 10, opset_import: ["" : 23]> words (float[N,6,4] x, float[N,1,1,6] m) => (float[N,6,4] y) {
        y = Attention <q_num_heads = 2, kv_num_heads = 2> (x, x, x, m)
    }"""
    onnx.save(onnx.parser.parse_model(text), "broken.onnx")
    result = cli("tokens broken.onnx -o slim.onnx")
    assert result.status == 2 and result.err.startswith("compress: broken.onnx") and not Path("slim.onnx").exists()


def test_an_open_number_of_tokens(cli: Cli) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]> words (float[N,T,4] x) => (float[N,T,4] y) {
        turned = Transpose <perm = [0, 2, 1]> (x) scores = MatMul(x, turned) weights = Softmax(scores)
        y = MatMul(weights, x)
    }"""
    onnx.save(onnx.parser.parse_model(text), "open.onnx")
    result = cli("tokens open.onnx -o slim.onnx")
    assert result.status == 2 and "fixed" in result.err and len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("net.onnx", "has no rows"),
        ("vit.onnx --macs 0.5", "--data"),
        ("vit.onnx --macs 1.5", "--macs 1.5"),
        ("vit.onnx --error -1", "--error -1"),
        ("vit.onnx --macs 0.5 --error 1", "not both"),
        (f"vit.onnx --macs 0.5 {DATA} --scores x.npy", "holds no scores"),
        (f"vit.onnx --macs 0.5 {DATA} --scores vit.onnx", "vit.onnx"),
        (f"vit.onnx --macs 0.01 {DATA}", "as few tokens as can be"),
        ("nothing.onnx", "nothing.onnx"),
    ],
)
def test_bad_input(line: str, says: str, cli: Cli) -> None:
    result = cli(f"tokens {line} -o slim.onnx")
    assert result.status == 2 and says in result.err and len(result.err.splitlines()) == 1
    assert not Path("slim.onnx").exists()
