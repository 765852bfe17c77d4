"""Channels that are multiples of others are merged into these: the weights of their readers take over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper, parser
from shell import Cli

from runtime import Settings, open_session

RANKS = {"w1": 5, "w2": 6, "w3": 4}
SHAPES = {"w1": (10, 3, 3, 3), "w2": (12, 10, 3, 3), "w3": (8, 12, 1, 1), "w4": (5, 8)}
TEXT = """<ir_version: 10, opset_import: ["" : 20]> g (float[N,3,8,8] x) => (float[N,5] y) {
    a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1) c = Relu(a) d = Conv<pads = [1, 1, 1, 1]>(c, w2, b2) e = Relu(d)
    f = Conv(e, w3, b3) h = Relu(f) p = GlobalAveragePool(h) q = Flatten(p) y = Gemm<transB = 1>(q, w4) }"""


def redundant(noise: float) -> ModelProto:
    """A network in which the last channels of every layer are multiples of its first ones, but for ``noise``."""
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(0, np.prod(shape[1:]) ** -0.5, shape) for name, shape in SHAPES.items()}
    for name, rank in RANKS.items():
        arrays[name.replace("w", "b")] = rng.normal(0, 0.3, len(arrays[name]))
        scales = rng.uniform(0.5, 2, len(arrays[name]) - rank)
        for array in (arrays[name], arrays[name.replace("w", "b")]):
            copies = scales.reshape(-1, *[1] * (array.ndim - 1)) * array[np.arange(scales.size) % rank]
            array[rank:] = copies + noise * np.abs(copies).mean() * rng.normal(size=copies.shape)
    model = parser.parse_model(TEXT)
    model.graph.initializer.extend(
        numpy_helper.from_array(each.astype(np.float32), key) for key, each in arrays.items()
    )
    return model


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(64, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("noise, lost", [(0.0, 0.01), (0.05, 0.05)])
def test_layers_are_pruned_to_their_rank(noise: float, lost: float, cli: Cli) -> None:
    onnx.save(redundant(noise), "redundant.onnx")
    np.save("x.npy", images(1))
    before = open_session(Path("redundant.onnx"), Settings(threads=1)).run({"x": images(2)})["y"]
    apart = []
    for repair in ("", "--repair"):
        command = f"prune redundant.onnx -o zeroed.onnx --keep 0.5 --criterion surgeon --input x=x.npy {repair}"
        assert cli(f"{command} --json told.json").status == 0
        assert json.loads(Path("told.json").read_text())["zeroed"] == 15
        assert cli("shrink zeroed.onnx -o slim.onnx").status == 0
        widths = {tensor.name: tensor.dims[0] for tensor in onnx.load("slim.onnx").graph.initializer}
        assert {name: widths[name] for name in RANKS} == RANKS
        after = open_session(Path("slim.onnx"), Settings(threads=1)).run({"x": images(2)})["y"]
        apart.append(np.abs(after - before).max() / before.std())
    assert apart[1] < lost < 10 * lost < apart[0]
