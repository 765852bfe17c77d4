"""Fewer tokens, from the command line."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
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


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("net.onnx", "has no rows"),
        ("vit.onnx --macs 0.5", "--data"),
        ("vit.onnx --macs 1.5", "--macs 1.5"),
        ("vit.onnx --error -1", "--error -1"),
        ("vit.onnx --macs 0.5 --error 1", "not both"),
        (f"vit.onnx --macs 0.01 {DATA}", "as few tokens as can be"),
        ("nothing.onnx", "nothing.onnx"),
    ],
)
def test_bad_input(line: str, says: str, cli: Cli) -> None:
    result = cli(f"tokens {line} -o slim.onnx")
    assert result.status == 2 and says in result.err and len(result.err.splitlines()) == 1
    assert not Path("slim.onnx").exists()
