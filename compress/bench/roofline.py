"""What this machine can do at best: the ceiling that a kernel's rate is held against.

Williams, Waterman, Patterson 2009: a kernel is bound by arithmetic, or by the bytes that it moves.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from runtime import Settings, open_session, random_feeds

LEAST = 0.1  # seconds per measurement
MATRICES = (256, 1024)  # rows and columns
MAPS = ((64, 28), (128, 14), (256, 28))  # channels, and height and width
TENSORS = (2**16, 2**18, 2**24)  # elements: in the caches, and far beyond them


@dataclass(frozen=True)
class Roof:
    """Measured peaks, in float32.

    Attributes:
        macs: multiply-accumulates per second, of the fastest matrix product or convolution.
        bytes: per second in and out, of the fastest Relu, which is one whose tensor stays in a cache.
    """

    macs: float
    bytes: float

    def attainable(self, macs: int, moved: int) -> float:
        """The most multiply-accumulates per second of a kernel that does ``macs`` on ``moved`` bytes."""
        return min(self.macs, self.bytes * macs / moved) if moved else self.macs


def measure_roof(settings: Settings) -> Roof:
    """Measure both peaks, in about a second.

    Raises:
        SessionError: the provider is not there.
    """
    rates = []
    for size in MATRICES if settings.provider == "cpu" else (*MATRICES, 4096):
        product = _model([size, size], helper.make_node("MatMul", ["x", "w"], ["y"]), (size, size))
        rates.append(size**3 / _best(product, settings))
    for channels, side in MAPS:
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
        convolution = _model([1, channels, side, side], node, (channels, channels, 3, 3))
        rates.append(9 * (channels * side) ** 2 / _best(convolution, settings))
    copies = [(size, _model([size], helper.make_node("Relu", ["x"], ["y"]))) for size in TENSORS]
    return Roof(max(rates), max(8 * size / _best(copy, settings) for size, copy in copies))


def _best(model: ModelProto, settings: Settings) -> float:
    """The shortest run, in seconds: whatever else the machine does makes a run slower, never faster."""
    session = open_session(model.SerializeToString(), settings)
    run = session.bound(random_feeds(session))
    run()
    shortest, begin = math.inf, time.perf_counter()
    while time.perf_counter() - begin < LEAST:
        start = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def _model(shape: list[int], node: NodeProto, weight: tuple[int, ...] | None = None) -> ModelProto:
    model = ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)])
    model.graph.name = node.op_type
    model.graph.input.append(helper.make_tensor_value_info("x", 1, shape))
    if weight is not None:
        values = np.random.default_rng(0).standard_normal(weight).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, "w"))
    model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info("y", 1, shape))
    return model
