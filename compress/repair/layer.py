"""Nodes that weigh channels with a constant and add up, seen as matrices from what they read to what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from compress.repair.windows import Places, windows
from graph.model.nodes import attributes, key
from graph.model.program import Program
from graph.tracing.trace import Use
from runtime.session import Array

Matrix = NDArray[np.float64]

LARGEST = 8192  # features whose second moments are still kept: half a GiB


@dataclass(frozen=True)
class Layer:
    """A Conv, ConvTranspose, Gemm or MatMul: ``groups`` matrices [features + 1, outputs of one group].

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
        return key(self.node) in ("Conv", "ConvTranspose")

    @property
    def wide(self) -> bool:
        """Whether it has more features than can be known by their second moments."""
        return self.features > LARGEST

    def places(self, made: Array) -> int:
        """How many places an output has, each with all output channels."""
        return made.size // self.outputs

    def inputs(self, data: Array, weight: Array, places: Places) -> Array:
        """What the outputs at some ``places`` [n] are sums over: [groups, n, features + 1], the last being 1."""
        rows = windows(self.node, data, weight.shape[2:], places) if self.conv else _flat(data)[places]
        found = np.ones((self.groups, places.size, self.features + 1), np.result_type(data, np.float32))
        found[:, :, :-1] = rows.reshape(places.size, self.groups, self.features).swapaxes(0, 1)
        return found

    def made(self, out: Array, places: Places) -> Array:
        """The outputs at some places: [groups, n, outputs of one group]."""
        rows = _flat(np.moveaxis(out, 1, -1) if self.conv else out)[places]
        return np.asarray(rows.reshape(places.size, self.groups, -1).swapaxes(0, 1), np.result_type(out, np.float32))

    def matrix(self, program: Program, values: Mapping[Use, Array]) -> Matrix:
        """Weight and bias: [groups, features + 1, outputs of one group]; a bias in the node behind counts as 0."""
        rows = self._rows(current(program, values, self.weight).astype(np.float64))
        bias = np.zeros(self.outputs)
        if self._has_bias:
            bias += self._factor("beta") * current(program, values, (self.index, 2)).ravel()
        return np.concatenate([self._factor("alpha") * rows, bias.reshape(self.groups, 1, -1)], 1)

    def store(self, program: Program, values: Mapping[Use, Array], matrix: Matrix) -> dict[Use, Array]:
        """The constants that make ``matrix``, as `matrix` gives it."""
        old = current(program, values, self.weight)
        found = {self.weight: self._weight(matrix[:, :-1] / self._factor("alpha"), old.shape).astype(old.dtype)}
        if self.bias is not None:
            bias = matrix[:, -1].ravel() / self._factor("beta")
            if self.bias[0] != self.index:  # what stands there already counts as 0 in the matrix
                before = current(program, values, self.bias)
                bias = before + bias.reshape(before.shape)
            elif self._has_bias:
                bias = bias.reshape(current(program, values, self.bias).shape)
            found[self.bias] = bias.astype(old.dtype)
        return found

    def _rows(self, weight: Matrix) -> Matrix:
        """A weight as [groups, features, outputs of one group]."""
        if key(self.node) == "ConvTranspose":
            each = weight.reshape(self.groups, -1, *weight.shape[1:])
            return np.moveaxis(each, 2, -1).reshape(self.groups, self.features, -1)
        weight = weight if self._outputs_first else weight.T
        return weight.reshape(self.groups, -1, self.features).swapaxes(1, 2)

    def _weight(self, rows: Matrix, shape: tuple[int, ...]) -> Matrix:
        """The weight of ``shape`` that has these rows."""
        if key(self.node) == "ConvTranspose":
            each = rows.reshape(self.groups, -1, *shape[2:], shape[1])
            return np.moveaxis(each, -1, 2).reshape(shape)
        weight = rows.swapaxes(1, 2).reshape(self.outputs, -1)
        return (weight if self._outputs_first else weight.T).reshape(shape)

    @property
    def _outputs_first(self) -> bool:
        return self.conv or bool(attributes(self.node).get("transB"))

    @property
    def _has_bias(self) -> bool:
        return len(self.node.input) > 2 and bool(self.node.input[2])

    def _factor(self, name: str) -> float:
        return float(attributes(self.node).get(name, 1.0))


def current(program: Program, values: Mapping[Use, Array], use: Use) -> Array:
    """The value of a constant where it is used."""
    return values[use] if use in values else program.constants[program.nodes[use[0]].input[use[1]]]


def _flat(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])
