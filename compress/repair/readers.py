"""Nodes that weigh channels with a constant and add up, seen as matrices from what they read to what they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import NodeProto

from graph.nodes import attributes, key, label
from graph.program import Program
from graph.trace import Trace, Use
from runtime.session import Array

Matrix = NDArray[np.float64]
Places = NDArray[np.int64]

LARGEST = 8192  # features whose second moments are still kept: half a GiB


@dataclass(frozen=True)
class Reader:
    """A Conv, Gemm or MatMul with a constant weight: ``groups`` matrices [features + 1, outputs of one group].

    Features are the elements of the input that one output element is a sum over, channel by channel, within a group.
    The last row is the bias.

    Attributes:
        index: of the node.
        node: itself.
        weight: the use of its weight.
        bias: the use of a constant that adds one number to every output channel, maybe in the node behind it, or to
            be added to the node; ``None`` if there is none.
        groups: outputs see the inputs of their own group only.
        features: per group.
        outputs: in all groups.
    """

    index: int
    node: NodeProto
    weight: Use
    bias: Use | None
    groups: int
    features: int
    outputs: int

    @property
    def conv(self) -> bool:
        """Whether its channels lie along axis 1, not along the last one."""
        return key(self.node) == "Conv"

    def places(self, made: Array) -> int:
        """How many places an output has, each with all output channels."""
        return made.size // self.outputs

    def inputs(self, data: Array, weight: Array, places: Places) -> Array:
        """What the outputs at some ``places`` [n] are sums over: [groups, n, features + 1], the last being 1."""
        rows = _windows(self.node, data, weight.shape[2:], places) if self.conv else _flat(data)[places]
        found = np.ones((self.groups, places.size, self.features + 1), np.result_type(data, np.float32))
        found[:, :, :-1] = rows.reshape(places.size, self.groups, self.features).swapaxes(0, 1)
        return found

    def made(self, out: Array, places: Places) -> Array:
        """The outputs at some places: [groups, n, outputs of one group]."""
        rows = _flat(np.moveaxis(out, 1, -1) if self.conv else out)[places]
        return np.asarray(rows.reshape(places.size, self.groups, -1).swapaxes(0, 1), np.result_type(out, np.float32))

    def matrix(self, program: Program, values: Mapping[Use, Array]) -> Matrix:
        """Weight and bias: [groups, features + 1, outputs of one group]; a bias in the node behind counts as 0."""
        weight = current(program, values, self.weight).astype(np.float64)
        weight = weight if self._outputs_first else weight.T
        rows = weight.reshape(self.groups, self.outputs // self.groups, self.features).swapaxes(1, 2)
        bias = np.zeros(self.outputs)
        if self._has_bias:
            bias += self._factor("beta") * current(program, values, (self.index, 2)).ravel()
        return np.concatenate([self._factor("alpha") * rows, bias.reshape(self.groups, 1, -1)], 1)

    def store(self, program: Program, values: Mapping[Use, Array], matrix: Matrix) -> dict[Use, Array]:
        """The constants that make ``matrix``, as `matrix` gives it."""
        old = current(program, values, self.weight)
        rows = matrix[:, :-1].swapaxes(1, 2).reshape(self.outputs, -1) / self._factor("alpha")
        found = {self.weight: (rows if self._outputs_first else rows.T).reshape(old.shape).astype(old.dtype)}
        if self.bias is not None:
            bias = matrix[:, -1].ravel() / self._factor("beta")
            if self.bias[0] != self.index:  # what stands there already counts as 0 in the matrix
                before = current(program, values, self.bias)
                bias = before + bias.reshape(before.shape)
            elif self._has_bias:
                bias = bias.reshape(current(program, values, self.bias).shape)
            found[self.bias] = bias.astype(old.dtype)
        return found

    @property
    def _outputs_first(self) -> bool:
        return self.conv or bool(attributes(self.node).get("transB"))

    @property
    def _has_bias(self) -> bool:
        return len(self.node.input) > 2 and bool(self.node.input[2])

    def _factor(self, name: str) -> float:
        return float(attributes(self.node).get(name, 1.0))


def readers(program: Program, trace: Trace) -> tuple[list[Reader], dict[str, str]]:
    """The nodes of ``program`` whose weights can be fitted, and of those that cannot, why."""
    found, left = [], {}
    for index, node in enumerate(program.nodes):
        if key(node) not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        each = _reader(program, trace, index, node)
        if isinstance(each, Reader):
            found.append(each)
        else:
            left[label(node)] = each
    return found, left


def _reader(program: Program, trace: Trace, index: int, node: NodeProto) -> Reader | str:
    """A reader, or why the node is none."""
    name, attribute = node.input[1], attributes(node)
    if node.input[0] in program.constants or name not in program.constants:
        return "its second operand is no constant" if name not in program.constants else "its first one is a constant"
    if node.input[0] not in program.shapes or node.output[0] not in program.shapes:
        return "its shapes are not known"
    shape = program.shapes[name]
    if key(node) == "ConvTranspose" or (key(node) == "MatMul" and len(shape) != 2) or attribute.get("transA"):
        return "its form is not supported"
    if (index, 1) in trace.stored or program.constants[name].dtype.kind != "f":
        return "its weight is quantised"
    if len(program.consumers[name]) > 1 or name in program.outputs:
        return "its weight is shared with other nodes"
    outputs = shape[0] if key(node) == "Conv" or attribute.get("transB") else shape[1]
    groups = attribute.get("group", 1)
    features = prod(shape) // outputs
    if features > LARGEST:
        return f"it sums over {features} elements, which is too many"
    bias = _bias(program, index, node, outputs)
    if len(node.input) > 2 and node.input[2] and bias is None:
        return "its bias is not one number per channel"
    return Reader(index, node, (index, 1), bias, groups, features, outputs)


def _bias(program: Program, index: int, node: NodeProto, outputs: int) -> Use | None:
    """Where a constant is or can be added to every output channel."""
    if key(node) != "MatMul":
        absent = len(node.input) < 3 or not node.input[2]
        fits = absent or _per_channel(program, node.input[2], outputs)
        return (index, 2) if fits and attributes(node).get("beta", 1.0) else None
    for place in sole(program, node.output[0]):
        for slot, name in enumerate(program.nodes[place].input):
            if key(program.nodes[place]) == "Add" and _per_channel(program, name, outputs):
                return place, slot
    return None


def _per_channel(program: Program, name: str, outputs: int) -> bool:
    """Whether a constant has one number per output channel, which nobody else reads along another axis."""
    if name not in program.constants or program.constants[name].dtype.kind != "f":
        return False
    shape = program.shapes[name]
    return prod(shape) == outputs == (shape[-1] if shape else 0)


def sole(program: Program, name: str) -> Iterator[int]:
    """The node that reads ``name``, if exactly one does and it is no output."""
    users = program.consumers.get(name, [])
    if len(users) == 1 and name not in program.outputs:
        yield users[0]


def current(program: Program, values: Mapping[Use, Array], use: Use) -> Array:
    """The value of a constant where it is used."""
    return values[use] if use in values else program.constants[program.nodes[use[0]].input[use[1]]]


def _flat(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])


def _windows(node: NodeProto, data: Array, kernel: tuple[int, ...], places: Places) -> Array:
    """What a convolution sees at some places [n] of its output, in order: [n, channels * kernel]."""
    attribute, rank = attributes(node), len(kernel)
    strides, dilations = attribute.get("strides", [1] * rank), attribute.get("dilations", [1] * rank)
    extents = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    pads = _pads(attribute, data.shape[2:], extents, strides)
    padded = np.pad(data, [(0, 0), (0, 0), *pads])
    windows = sliding_window_view(padded, extents, tuple(range(2, 2 + rank)))
    stepped = (slice(None), slice(None), *(slice(None, None, step) for step in strides))
    windows = np.moveaxis(windows[(*stepped, *(slice(None, None, step) for step in dilations))], 1, rank + 1)
    return windows[np.unravel_index(places, windows.shape[: rank + 1])].reshape(places.size, -1)


def _pads(
    attribute: Mapping[str, object], sizes: tuple[int, ...], extents: list[int], strides: list[int]
) -> list[tuple[int, int]]:
    """Zeros before and after every inner axis."""
    kind = attribute.get("auto_pad", b"NOTSET")
    if kind in (b"SAME_UPPER", b"SAME_LOWER"):
        totals = [
            max((-(-size // step) - 1) * step + extent - size, 0)
            for size, extent, step in zip(sizes, extents, strides, strict=True)
        ]
        halves = [(total // 2, total - total // 2) for total in totals]
        return halves if kind == b"SAME_UPPER" else [(after, before) for before, after in halves]
    given = attribute.get("pads") if kind == b"NOTSET" else None
    rank = len(sizes)
    flat = list(given) if given else [0] * 2 * rank  # type: ignore[call-overload]
    return list(zip(flat[:rank], flat[rank:], strict=True))
