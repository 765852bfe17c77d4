"""Which channel counts pay: the latency staircase of a model's own layers on this machine.

Each layer is timed alone with more and fewer output channels, followed by a ReLU and a narrow layer that reads them,
since a width costs whoever reads it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

import graph
from compress.bench.staircase import relative_latency
from compress.progress import Progress
from graph.counts import node_macs
from graph.model.nodes import attributes, key
from graph.model.program import Program
from graph.model.reader import read
from runtime import Settings
from runtime.session import Feeds
from runtime.trial import trial

STEP = 16  # channels: the largest block of the kernels at hand
RUNGS = 8  # widths per layer at most, besides its own
LAYERS = 8  # kinds of layers at most: those with the most multiply-accumulates
READER = 16  # output channels of the layer that reads
EQUAL, GAIN = 1.02, 0.95  # what is as fast, and what is faster, as a fraction of the latency

Timer = Callable[[ModelProto, ModelProto], float]


@dataclass(frozen=True)
class Form:
    """Layers that only differ in their weights.

    Attributes:
        op: the operator.
        attributes: its attributes, by name, without ``group``.
        shape: of the input.
        weight: shape of the weights, output channels first for a convolution and last for a matrix product.
    """

    op: str
    attributes: tuple[tuple[str, Any], ...]
    shape: tuple[int, ...]
    weight: tuple[int, ...]

    @property
    def width(self) -> int:
        """Output channels."""
        return self.weight[0 if self.op == "Conv" else -1]

    @property
    def inputs(self) -> int:
        """Input channels."""
        return self.shape[1 if self.op == "Conv" else -1]

    @property
    def depthwise(self) -> bool:
        """Whether every channel is convolved by itself."""
        return self.op == "Conv" and self.weight[1] == 1 and self.shape[1] == self.weight[0]

    def at(self, inputs: int, outputs: int) -> Form:
        """The same with so many channels; a depthwise one has as many inputs as outputs."""
        if self.op != "Conv":
            return replace(self, shape=(*self.shape[:-1], inputs), weight=(inputs, outputs))
        fan = 1 if self.depthwise else inputs
        return replace(self, shape=(self.shape[0], inputs, *self.shape[2:]), weight=(outputs, fan, *self.weight[2:]))

    def network(self, width: int, read: bool = True) -> ModelProto:
        """The layer with so many output channels, a ReLU, and a layer that reads them unless ``read`` is false."""
        form = self.at(width if self.depthwise else self.inputs, width)
        convolution, options = self.op == "Conv", dict(self.attributes)
        if self.depthwise:
            options["group"] = width
        rank = len(self.shape) - 2
        reader = [READER, width, *[1] * rank] if convolution else [width, READER]
        model = ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)])
        model.graph.name = f"{self.op}-{width}"
        rng = np.random.default_rng(0)
        for name, sizes in (("w", form.weight), ("r", reader))[: 1 + read]:
            values = rng.standard_normal(sizes).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
        model.graph.node.append(helper.make_node(self.op, ["x", "w"], ["a"], **options))
        model.graph.node.append(helper.make_node("Relu", ["a"], ["b"]))
        if read:
            model.graph.node.append(helper.make_node(self.op, ["b", "r"], ["c"]))
        model.graph.input.append(helper.make_tensor_value_info("x", 1, form.shape))
        model.graph.output.append(helper.make_tensor_value_info("c" if read else "b", 1, [None] * len(form.shape)))
        return model


@dataclass(frozen=True)
class Ladder:
    """What widths cost in one form of layer.

    Attributes:
        form: of the layers.
        names: of the layers.
        times: per width, the latency in units of that of the present width.
    """

    form: Form
    names: tuple[str, ...]
    times: Mapping[int, float]

    @property
    def free(self) -> int:
        """The largest width that costs no more than the present one."""
        return max(width for width, each in self.times.items() if each <= EQUAL)

    @property
    def paying(self) -> tuple[int, ...]:
        """Smaller widths that pay, largest first: every one is faster than all that are wider."""
        found, best = [], GAIN
        for width in sorted(self.times, reverse=True):
            if width < self.form.width and self.times[width] <= best:
                found.append(width)
                best = GAIN * self.times[width]
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "layers": list(self.names),
            "op": self.form.op,
            "input": list(self.form.shape),
            "width": self.form.width,
            "times": {str(width): self.times[width] for width in sorted(self.times)},
            "costs_no_more": self.free,
            "paying": list(self.paying),
        }


def ladders(
    path: Path,
    *,
    settings: Settings,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    given: Feeds | None = None,
    progress: Progress,
    timer: Timer | None = None,
) -> list[Ladder]:
    """Time the layers of a model that matter most, each alone, at several widths, in float32.

    Args:
        path: of the model.
        settings: how layers are run.
        batch: None for the batch size that the model is fixed to, or 1.
        dims: sizes of dynamic axes by name.
        given: inputs that are not random, by name.
        progress: told how far it is, in measurements.
        timer: the latency of a network in units of another one's; measured with ONNX Runtime if None.

    Raises:
        ModelError: the file is no model.
        SessionError: the model does not run.
    """
    feeds = trial(path, settings=settings, batch=batch, dims=dims, given=given).feeds
    found = forms(graph.load(path), {name: array.shape for name, array in feeds.items()})
    plan = [(form, names, rungs(form.width)) for form, names in found.items()]
    timer = timer or (lambda model, reference: relative_latency(model, reference, settings))
    progress.start(sum(len(widths) for _, _, widths in plan))
    result = []
    try:
        for form, names, widths in plan:
            times = {form.width: 1.0}
            for width in widths:
                times[width] = timer(form.network(width), form.network(form.width))
                progress.update(1)
            result.append(Ladder(form, names, times))
    finally:
        progress.stop()
    return result


def forms(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[Form, tuple[str, ...]]:
    """The forms of layers with the most multiply-accumulates, and the names of those layers.

    Args:
        model: with its weights.
        shapes: of its inputs.
    """
    program = at_sizes(model, shapes)
    names: dict[Form, list[str]] = {}
    costs: dict[Form, int] = {}
    for node in program.nodes:
        form = form_of(program, node)
        if form is not None:
            names.setdefault(form, []).append(node.name or node.output[0])
            costs[form] = costs.get(form, 0) + node_macs(program, node)
    return {form: tuple(names[form]) for form in sorted(costs, key=costs.__getitem__, reverse=True)[:LAYERS]}


def at_sizes(model: ModelProto, shapes: Mapping[str, Sequence[int]]) -> Program:
    """What the compiler knows of ``model`` if its inputs have these ``shapes``."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind.elem_type, list(shapes[value.name])))
    return read(fixed)


def rungs(width: int) -> list[int]:
    """Widths to try besides ``width``: from a quarter of it up to the next full block, and one between two blocks."""
    top = -(-width // STEP) * STEP
    step = STEP // 2
    while (top - width // 4) // step >= RUNGS:
        step *= 2
    tried = {*range(top, max(width // 4, 1), -step), top - 3}
    return sorted(tried - {width}, reverse=True)


def form_of(program: Program, node: NodeProto) -> Form | None:
    """None for what is no layer: other operators, weights that are computed, groups of several channels."""
    if key(node) not in ("Conv", "Gemm", "MatMul") or node.input[1] not in program.constants:
        return None
    weight, shape = program.shapes[node.input[1]], program.shapes.get(node.input[0])
    found = attributes(node)
    if len(weight) < 2 or shape is None or found.get("transA"):
        return None
    if node.op_type != "Conv":
        size = weight[::-1] if found.get("transB") else weight
        return Form("MatMul", (), tuple(shape), tuple(size)) if len(weight) == 2 else None
    group = found.pop("group", 1)
    if group > 1 and not weight[0] == group == shape[1]:
        return None
    options = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in sorted(found.items()))
    return Form("Conv", options, tuple(shape), tuple(weight))
