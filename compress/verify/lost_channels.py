"""Which channels of the tensors inside a model a shrink took away, from its certificate."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from onnx import NodeProto

from compress.errors import UserError
from graph.model.program import Program
from graph.tracing.rules import elementwise, signature
from graph.tracing.signature import OPAQUE
from runtime.session import Array

Axis = tuple[str, int]  # name of a tensor, place of an axis
Lost = Mapping[Axis, set[int]]  # the indices that went


def read_lost(certificate: Path) -> Lost:
    """What constants lost, from a certificate of ``compress shrink``.

    Raises:
        UserError: the file is no certificate.
    """
    lost: dict[Axis, set[int]] = {}
    try:
        for entry in json.loads(certificate.read_text(encoding="utf-8"))["removed"]:
            for tensor, indices in zip(entry["tensors"], entry["indices"], strict=True):
                name, axis = re.fullmatch(r"(.*)\[(\d+)\]", tensor).groups()  # type: ignore[union-attr]
                lost.setdefault((name, int(axis)), set()).update(indices)
    except OSError as error:
        raise UserError(f"cannot read {certificate}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{certificate} is no certificate of compress shrink") from error
    return lost


def followed(program: Program, lost: Lost) -> Lost:
    """What is lost of constants, and of the tensors that are computed from them."""
    found = dict(lost)
    for node in program.nodes:
        for name, axes in zip(node.output, _origins(program, node), strict=False):
            for place, origins in enumerate(axes):
                first, *others = [found.get(origin, set()) for origin in origins] or [set()]
                if first and all(each == first for each in others):  # otherwise something was put in between
                    found[name, place] = first
    return found


def _origins(program: Program, node: NodeProto) -> Iterator[list[list[Axis]]]:
    """For every axis of every output, the axes of inputs that hold the same channels."""
    shapes = program.shapes
    if elementwise(program, node) and shapes.keys() >= {*filter(None, node.input), node.output[0]}:
        out = shapes[node.output[0]]
        behind = {name: len(out) - len(shapes[name]) for name in node.input if name}
        yield [
            [(name, axis - skip) for name, skip in behind.items() if axis >= skip and shapes[name][axis - skip] == size]
            for axis, size in enumerate(out)
        ]
    elif rule := signature(program, node):
        places = [
            ((name, place), letter)
            for name, axes in zip(node.input, rule.operands, strict=False)
            for place, letter in enumerate(axes)
        ]
        for axes in rule.outputs:
            yield [[place for place, letter in places if letter == each != OPAQUE] for each in axes]


def left(value: Array, name: str, lost: Lost) -> Array:
    """What is left of the tensor ``name``."""
    for axis, size in enumerate(value.shape):
        gone = [index for index in lost.get((name, axis), ()) if index < size]
        value = np.delete(value, gone, axis)
    return value
