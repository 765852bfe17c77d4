"""Small ONNX files, written without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

NET = """<ir_version: 10, opset_import: ["" : 20]>
net ({type}[N,{channels},8,8] input) => ({type}[N,10] {output}) {{
    a = Conv<pads = [1, 1, 1, 1]>(input, w1, b1)
    r = Relu(a)
    c = Conv<pads = [1, 1, 1, 1]>(r, w2, b2)
    s = Relu(c)
    p = GlobalAveragePool(s)
    f = Flatten(p)
    {output} = Gemm<transB = 1>(f, w3, b3)
}}"""

DEAD, CONSTANT = (0, 3, 5), (1, 6)  # of the first convolution's 8 channels


def network(
    *, seed: int = 0, channels: int = 1, output: str = "output", dtype: type = np.float32, alive: int = 16
) -> ModelProto:
    """Two convolutions and a linear layer; some channels of the first are zero, some constant."""
    rng = np.random.default_rng(seed)
    shapes = {"w1": (8, channels, 3, 3), "b1": (8,), "w2": (alive, 8, 3, 3), "b2": (alive,)}
    shapes |= {"w3": (10, alive), "b3": (10,)}
    weights = {name: rng.normal(0, 0.3, shape).astype(dtype) for name, shape in shapes.items()}
    weights["w1"][[*DEAD, *CONSTANT]] = 0
    weights["b1"][[*DEAD]] = 0
    weights["b1"][[*CONSTANT]] = 0.5
    kind = {np.float32: "float", np.float16: "float16"}[dtype]
    model = onnx.parser.parse_model(NET.format(type=kind, channels=channels, output=output))
    model.graph.initializer.extend(numpy_helper.from_array(w, name) for name, w in weights.items())
    return model


def write_models(folder: Path) -> None:
    """A network, others that differ from it in one respect each, and files that are no models."""
    models = {
        "net": network(),
        "other": network(seed=1),
        "colour": network(channels=3),
        "renamed": network(output="logits"),
        "half": network(dtype=np.float16),
    }
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
    data = (folder / "net.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(data[: len(data) // 2])
    (folder / "empty.onnx").touch()
    (folder / "text.onnx").write_text("no model, but a line of text\n")
    (folder / "folder").mkdir()
