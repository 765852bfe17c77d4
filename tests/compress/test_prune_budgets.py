"""Budgets are met, and nothing goes that they could afford, whatever floors and alignment say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from mask_nets import NETS

import graph
from compress.errors import UserError
from compress.prune.budgets import Trial, check_reachable, fewest
from compress.prune.selection import Selection
from graph.candidates.classes import Classes, classes


def offered(folder: Path, net: str) -> tuple[Classes, Path]:
    path = folder / "net.onnx"
    onnx.save(NETS[net](), path)
    return classes(graph.analyse(graph.load(path))), path


@pytest.mark.parametrize("budget", ["macs", "params", "keep", "bytes"])
@pytest.mark.parametrize("align", [1, 2, 4])
def test_no_block_goes_that_could_stay(align: int, budget: str, tmp_path: Path) -> None:
    found, path = offered(tmp_path, "residual")
    trial = Trial(path, found, budget)
    slack = 0.5 / len(found) if budget == "keep" else 0
    for seed in range(4):
        selection = Selection(found, np.random.default_rng(seed).random(len(found)), 0.05, align)
        gone = fewest(trial, selection, 0.7)
        assert trial.left(gone) <= 0.7 + slack
        strongest = {found.family[block[0]]: block for block in selection.blocks if gone[block].all()}
        for block in strongest.values():
            more = gone.copy()
            more[block] = False
            assert trial.left(more) > 0.7 + slack


@pytest.mark.parametrize("net", ["residual", "depthwise", "tokens"])
def test_what_cannot_be_reached_is_known_before_scores_are(net: str, tmp_path: Path) -> None:
    found, path = offered(tmp_path, net)
    trial = Trial(path, found, "macs")
    unknown, known = (Selection(found, scores, 0.3) for scores in (np.zeros(len(found)), np.arange(len(found)) + 1.0))
    least = trial.left(known.weakest(known.most))
    assert trial.left(fewest(trial, known, least)) == least
    check_reachable(trial, unknown, least)
    with pytest.raises(UserError, match=f"{least:.1%} are left with every class gone that may go; lower --floor,"):
        check_reachable(trial, unknown, 0.99 * least)


def test_what_has_no_score_is_told(tmp_path: Path) -> None:
    found, path = offered(tmp_path, "residual")
    scores = np.ones(len(found))
    scores[:3] = np.inf
    with pytest.raises(UserError, match=rf"\(3 of {len(found)} are protected .* --floor or --align"):
        fewest(Trial(path, found, "macs"), Selection(found, scores, 0.0, 2), 0.01)


@pytest.mark.parametrize("align, together", [(1, 1), (4, 1), (8, 2), (16, 4)])
def test_a_class_with_several_channels_needs_fewer_others(align: int, together: int) -> None:
    """Four channels become blocks of pixels of one: they are aligned as they are."""
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[N,3,8,8] x) => (float[N,5,16,16] y) {
        a = Conv(x, w0) c = DepthToSpace<blocksize = 2>(a) d = Relu(c) y = Conv(d, w1) }"""
    model = onnx.parser.parse_model(text)
    for name, shape in (("w0", (32, 3, 1, 1)), ("w1", (5, 8, 1, 1))):
        weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    found = classes(graph.analyse(model))
    blocks = Selection(found, np.random.default_rng(0).random(len(found)), 0.0, align).blocks
    assert len(found) == 8 and {block.size for block in blocks} == {together}
    assert sum(block.size for block in blocks) == 8 - together
