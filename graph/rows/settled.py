"""Sizes that are the same whatever is fed, as constants: what is computed from them can be cut, each use by itself."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, numpy_helper

from graph.files.copies import complete, skeleton
from graph.model.evaluate import Array
from graph.model.nodes import key
from graph.model.program import Program
from graph.model.reader import read
from graph.rewriting.tidy import keep, tidy
from graph.rewriting.write import names_taken, unused
from graph.tracing.sizes import Sizes


def settled(program: Program) -> Program:
    """The program of a copy that has such values in place of the nodes that compute them."""
    if any(_assumed(program, value) for value in program.graph.input):
        return program
    return _targets(_values(program))


def _assumed(program: Program, value: ValueInfoProto) -> bool:
    """Whether an input has open sizes that were read at one value alone, or as a batch, which is too small to tell."""
    name, sizes = value.name, value.type.tensor_type.shape.dim
    if name not in program.inputs or name not in program.shapes:
        return False
    shape, found = program.shapes[name], program.dynamic.get(name, {})
    return any(
        dim.dim_value <= 0 and (axis not in found or (axis > 0 and shape[axis] == program.probe[0]))
        for axis, dim in enumerate(sizes)
    )


def _values(program: Program) -> Program:
    """Tensors that are made of sizes which never change."""
    outputs = set(program.outputs)
    gone = {
        name: program.probed[name]
        for node in program.nodes
        if all(name in program.fixed and name not in outputs for name in node.output if name)
        for name in node.output
        if name
    }
    if not gone:
        return program
    copy = skeleton(program.model)
    keep(copy.graph.node, lambda node: gone.keys().isdisjoint(node.output))
    return _with(program, copy, gone)


def _targets(program: Program) -> Program:
    """What a Reshape makes, if one axis at most is open: it follows from the others, which are constants."""
    copy, sizes = skeleton(program.model), Sizes(program)
    taken, found = names_taken(copy.graph), dict[str, Array]()
    for node, edited in zip(program.nodes, program.matching(copy.graph), strict=True):
        if key(node) != "Reshape" or len(node.input) < 2 or program.shapes.keys().isdisjoint(node.output):
            continue
        shape, open_axes = program.shapes[node.output[0]], program.dynamic.get(node.output[0], {})
        given = _given(program, node.input[1])
        steady = all(source or axis in given or axis in open_axes for axis, source in sizes.targets(node))
        if node.input[1] not in program.constants and steady and len(open_axes) < 2 and 0 not in shape:
            edited.input[1] = unused(f"{node.output[0]}_shape", taken)
            found[edited.input[1]] = np.array([-1 if axis in open_axes else n for axis, n in enumerate(shape)])
    return _with(program, copy, found) if found else program


def _with(program: Program, copy: ModelProto, constants: dict[str, Array]) -> Program:
    copy.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    tidy(copy.graph)
    return read(complete(copy, program.model))


def _given(program: Program, target: str) -> set[int]:
    """The places of a target that are constants which it is put together of."""
    maker = program.nodes[program.makers[target]] if target in program.makers else NodeProto()
    places: list[bool] = []
    for name in maker.input if key(maker) == "Concat" else []:
        places += [name in program.constants] * program.shapes[name][0]
    return set(np.flatnonzero(places).tolist())
