"""Latency against the number of channels on this machine: a staircase, since kernels take channels in blocks.

Between two steps a width may cost as much as the next whole block, or more. How much is measured once, on small
networks, and remembered in a file of the user's cache; `Staircase.multiple` says which widths are worth filling up.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from compress.remembered import cache_file, machine, remember, remembered
from graph.model.nodes import attributes
from runtime import Plan, Settings, measure, open_session, random_feeds
from runtime.measure import Open

SCHEMA = 1
KINDS = ("convolution", "pointwise", "depthwise", "matmul")
MULTIPLES = (1, 2, 4, 8, 16, 32)
TOP = 64
TRIED = range(TOP - 31, TOP, 3)  # widths that stand for all of two blocks of 16
WIDTHS = sorted({-(-width // multiple) * multiple for width in TRIED for multiple in MULTIPLES})
SIZE = 14  # height and width of the feature maps: the middle of networks for images
MINIMUM_EFFECT = 0.02
NOISE = 0.05  # how far the width `TOP` may come out from itself in a measurement that is worth remembering
PLAN = Plan(rounds=6, min_time=0.06, min_pairs=12, max_time=2.0, precision=math.inf, warmup_time=0.0, warmup_runs=2)

Timer = Callable[[str, int], float]  #: of a kind and a width: its latency in units of that of the width `TOP`


@dataclass(frozen=True)
class Staircase:
    """What was measured.

    Attributes:
        times: per kind of operator and width, the latency in units of that of the width `TOP`.
    """

    times: Mapping[str, Mapping[int, float]]

    def multiple(self, kinds: Iterable[str]) -> int:
        """The multiple of channels at which a network of these kinds of operators runs fastest; 1 if none is better.

        Every kind votes, and the widest block wins, since it keeps the others whole.
        """
        return max((_fastest(self.times[kind]) for kind in kinds), default=1)


def staircase(settings: Settings | None = None, *, cache: Path | None = None, timer: Timer | None = None) -> Staircase:
    """The staircase of this machine, from the cache if it was measured before.

    Args:
        settings: how models are run.
        cache: the file that remembers, the user's if None: replaced if it cannot be read, and not missed if it cannot
            be written.
        timer: measures; with ONNX Runtime if None.

    Raises:
        SessionError: ONNX Runtime does not run here.
    """
    settings, cache = settings or Settings(), cache or cache_file("staircase.json")
    known, here = remembered(cache, SCHEMA), machine(settings)
    with contextlib.suppress(ValueError, TypeError, LookupError):
        return _parsed(known[here])
    timer = timer or functools.partial(_latency, settings=settings)
    found = Staircase({kind: {width: timer(kind, width) for width in WIDTHS} for kind in KINDS})
    if all(abs(times[TOP] - 1) < NOISE for times in found.times.values()):
        remember(cache, SCHEMA, known | {here: found.times})
    return found


def kinds(model: ModelProto) -> set[str]:
    """Which of `KINDS` a model is made of."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return {kind for node in model.graph.node if (kind := _kind(node, shapes)) is not None}


def _kind(node: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if node.op_type in ("MatMul", "Gemm"):
        return "matmul"
    if node.op_type != "Conv":
        return None
    kernel = attributes(node).get("kernel_shape") or shapes.get(node.input[1], (0, 0, 1))[2:]
    if attributes(node).get("group", 1) > 1:
        return "depthwise"
    return "convolution" if max(kernel) > 1 else "pointwise"


def _fastest(times: Mapping[int, float]) -> int:
    """The multiple with the lowest mean latency of widths that are rounded up to it; of equal ones the largest."""
    means = {
        multiple: sum(times[-(-width // multiple) * multiple] for width in TRIED) / len(TRIED) for multiple in MULTIPLES
    }
    enough = (1 + MINIMUM_EFFECT) * min(means.values())
    return 1 if means[1] <= enough else max(multiple for multiple, mean in means.items() if mean <= enough)


def _parsed(times: Mapping[str, Mapping[str, Any]]) -> Staircase:
    """Raises an error unless every time is there."""
    return Staircase({kind: {width: float(times[kind][str(width)]) for width in WIDTHS} for kind in KINDS})


def _latency(kind: str, width: int, settings: Settings) -> float:
    return relative_latency(probe(kind, width), probe(kind, TOP), settings)


def relative_latency(model: ModelProto, reference: ModelProto, settings: Settings) -> float:
    """The latency of one small network in units of another one's, in turns, in rounds of fresh sessions.

    The quickest run of each counts: whatever else the machine does makes a run slower, never faster.
    """
    samples = measure(_opener(model, settings), _opener(reference, settings), PLAN)
    assert samples.reference is not None
    return float(samples.candidate.min() / samples.reference.min())


def quickest(model: ModelProto, settings: Settings, plan: Plan) -> float:
    """The quickest run of a small network, in seconds."""
    return float(measure(_opener(model, settings), plan=plan).candidate.min())


def _opener(network: ModelProto, settings: Settings) -> Open:
    data = network.SerializeToString()
    feeds = random_feeds(open_session(data, settings))
    return lambda: open_session(data, settings).bound(feeds)


def probe(kind: str, width: int) -> ModelProto:
    """Two residual blocks of one kind of operator, as wide as is to be measured; float32."""
    weights = {
        "convolution": (width, width, 3, 3),
        "pointwise": (width, width, 1, 1),
        "depthwise": (width, 1, 3, 3),
        "matmul": (width, width),
    }
    layers = ["pointwise", "depthwise", "pointwise"] if kind == "depthwise" else [kind, kind]
    shape = [1, SIZE * SIZE, width] if kind == "matmul" else [1, width, SIZE, SIZE]
    model = ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)])
    model.graph.name = kind
    model.graph.input.append(helper.make_tensor_value_info("0", 1, shape))
    rng = np.random.default_rng(0)
    last = "0"
    for block in range(2):
        start = last
        for layer, each in enumerate(layers):
            name = f"{block}.{layer}"
            weight = rng.standard_normal(weights[each]).astype(np.float32) / np.float32(width)
            model.graph.initializer.append(numpy_helper.from_array(weight, f"{name}.weight"))
            model.graph.node.append(_operator(each, [last, f"{name}.weight"], name, width))
            if layer == len(layers) - 1:
                model.graph.node.append(helper.make_node("Add", [name, start], [f"{name}.sum"]))
                name = f"{name}.sum"
            last = f"{name}.relu"
            model.graph.node.append(helper.make_node("Relu", [name], [last]))
    model.graph.output.append(helper.make_tensor_value_info(last, 1, shape))
    return model


def _operator(kind: str, inputs: list[str], out: str, width: int) -> NodeProto:
    if kind == "matmul":
        return helper.make_node("MatMul", inputs, [out])
    group = width if kind == "depthwise" else 1
    return helper.make_node("Conv", inputs, [out], pads=[0 if kind == "pointwise" else 1] * 4, group=group)
