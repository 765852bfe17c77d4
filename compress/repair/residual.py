"""Where a node's output is one side of a sum, the other side's error can be made good by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import NodeProto

from compress.repair.fittable import sole
from graph.model.nodes import attributes, key
from graph.model.program import Program
from graph.tracing.trace import JOINS
from runtime.session import Array

SHIFTS = {"Add", "Sub", "Identity", "Dropout"}  # with a constant, or with nothing
RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class Residual:
    """A sum of ``other`` and what lies behind a node: shifts, scales, reshapes.

    Attributes:
        other: the name of the other operand.
        scales: by what the node's output was multiplied on the way, the first one first.
    """

    other: str
    scales: list[Array]

    def undone(self, error: Array, shape: Sequence[int]) -> Array:
        """What the node must make less, in its own ``shape``, for the sum to be as if ``other`` had no error."""
        for scale in reversed(self.scales):
            error = np.divide(error, scale, out=np.zeros_like(error), where=scale != 0)
        return error.reshape(shape)


def residual(program: Program, node: NodeProto) -> Residual | None:
    """The sum that the output of ``node`` goes into, and nowhere else; ``None`` if there is none."""
    name = node.output[0]
    scales: list[Array] = []
    while True:
        place = next(sole(program, name), None)
        if place is None:
            return None
        after = program.nodes[place]
        if after.output[0] not in program.shapes:
            return None
        others = [other for other in after.input if other and other != name]
        constant = all(other in program.constants for other in others)
        if key(after) in JOINS and len(after.input) == 2 and not constant:
            whole = others and program.shapes.get(others[0]) == program.shapes[name] == program.shapes[after.output[0]]
            return Residual(others[0], scales) if whole else None
        size = prod(program.shapes[after.output[0]]) == prod(program.shapes[name])
        if key(after) in RESHAPES and size and not scales:
            pass
        elif not constant or not size or (after.input[0] != name and key(after) not in ("Add", "Mul")):
            return None
        elif key(after) == "BatchNormalization" and len(after.output) == 1:
            scales.append(_slope(program, after))
        elif key(after) in ("Mul", "Div") and len(others) == 1:
            factor = program.constants[others[0]]
            scales.append(factor if key(after) == "Mul" else np.where(factor != 0, 1 / factor, 0).astype(factor.dtype))
        elif key(after) not in SHIFTS:
            return None
        name = after.output[0]


def _slope(program: Program, node: NodeProto) -> Array:
    """By what BatchNormalization multiplies, in the rank of its input."""
    scale, variance = (program.constants[node.input[slot]] for slot in (1, 4))
    slope = scale / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    return np.asarray(slope.reshape(-1, *[1] * (len(program.shapes[node.input[0]]) - 2)), scale.dtype)
