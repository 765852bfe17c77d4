"""Read a model into a `Program`: walk its nodes once, with the types and the small values of one or two probe sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TypeProto

from graph.errors import ModelError
from graph.model import control
from graph.model.check import check
from graph.model.constants import Stored, constant_of, type_of
from graph.model.evaluate import Array, CannotEvaluate
from graph.model.inline import inline
from graph.model.nodes import attributes, bodies, free, key, stored
from graph.model.order import ordered
from graph.model.program import Program
from graph.model.shapes import Shape, Sizes, common, infer, is_typed, shape_of

#: Batch and other open sizes, for one reading and for a second one that tells which sizes depend on them. Windows of 7,
#: 14 or 28, and parts of 3 or 5, do not fit into 64. Files with a dynamic batch and a batch of 1 baked into a Reshape
#: are common; they are read for that batch, and those with an image baked in for images of that size.
PROBES: Sequence[Sequence[tuple[int, int]]] = (
    *(((2, size), (3, 2 * size)) for size in (64, 224, 240)),
    *(((2, size), (3, size // 2)) for size in (64, 224, 240)),  # a table of places may end in between
    *(readings for size in (64, 224, 240) for readings in (((2, size), (3, size)), ((2, size), (2, 2 * size)))),
    *(((batch, size),) for batch, size in ((2, 64), (2, 224))),
    *(((1, size), (1, 2 * size)) for size in (64, 224, 240)),
    *(((1, size),) for size in (64, 224, 32, 28, 1)),
)

BRANCHES = ["then_branch", "else_branch"]
#: Ops that are no functions of their inputs, or of which onnx's reference is wrong (before opset 14, as in training).
NEVER_FOLDED = set(
    "BatchNormalization Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)
#: Ops that pick and arrange sizes, and compute with none.
SELECTIONS = set("Cast Concat Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split())


def read(model: ModelProto, probes: Sequence[Sequence[tuple[int, int]]] = PROBES) -> Program:
    """Inline functions, order the nodes, find every shape and fold what depends on constants alone.

    Args:
        model: any; it is not changed.
        probes: sets of readings to try in turn, each a batch and a size; with one reading nothing is dynamic.

    Raises:
        ModelError: the graph has a cycle, a tensor without producer or with two, shapes that contradict each other,
            or an op or opset that onnx does not know.
    """
    model = inline(model)
    check(model)
    constants = set(stored(model.graph))
    fed = [value for value in model.graph.input if value.name not in constants and is_typed(value.type)]
    problem: ModelError | None = None
    is_open = any(dim.dim_value <= 0 for value in fed for dim in value.type.tensor_type.shape.dim)
    for readings in probes if is_open else [probes[0][:1]]:
        sizes = [Sizes(*probe) for probe in readings]
        for each in sizes:
            each.feed(fed)
        try:
            return _Reader(model, model.graph, sizes).program
        except ModelError as error:
            problem = problem or error
    assert problem is not None
    raise problem


class _Reader:
    """Reads a graph at one or two sets of probe sizes at once.

    Attributes:
        program: what was found.
        sizes: the same per reading; the first one's become the program's.
        selected: tensors that are made of sizes and of what is fixed, without computing.
    """

    def __init__(
        self,
        model: ModelProto,
        graph: GraphProto,
        sizes: Sequence[Sizes],
        outer: Sequence[str] = (),
        around: _Reader | None = None,
    ) -> None:
        self.sizes, self.selected = sizes, set[str]()
        self.program = Program(model, graph, ordered(graph, outer))
        if around is not None:
            self.selected = around.selected.intersection(outer)
            self.program.fixed = around.program.fixed.intersection(outer)
            self.program.constants.share(around.program.constants, outer)
        self.program.outer = [name for name in outer if name not in self.program.constants]
        declared = {value.name: value.type for value in [*graph.value_info, *graph.output]}
        self.declared = {name: kind for name, kind in declared.items() if is_typed(kind)}
        for tensor in graph.initializer:
            self.constant(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            self.constant(sparse.values.name, sparse)
        for index, node in enumerate(self.program.nodes):
            self.visit(index, node)
        self.finish()

    def visit(self, index: int, node: NodeProto) -> None:
        """Types and, where they are known, values of the outputs of ``node``."""
        inner = bodies(node)
        if key(node) == "Constant":
            return self.constant(node.output[0], constant_of(node))
        if inner:
            found = self.enter(index, node)
        else:
            version = self.program.version(node.domain)
            found = [infer(self.program.model, node, version, each, self.hints(each, node)) for each in self.sizes]
        for each, kinds in zip(self.sizes, found, strict=True):
            for name in node.output:
                kind = kinds.get(name)
                if name in self.declared and (kind is None or (inner and shape_of(kind) is None)):
                    kind = each.close(self.declared[name])  # stands in for an op that onnx does not know
                if kind is not None:
                    each.put(name, kind)
        if not inner and node.domain in ("", "ai.onnx"):
            self.fold(node)

    # -- values

    def constant(self, name: str, value: Array | Stored) -> None:
        """File a constant and its type."""
        self.program.constants[name] = value
        kind = type_of(value)
        for each in self.sizes:
            each.put(name, kind)

    def known(self, sizes: Sizes, name: str) -> Array | None:
        """A value that is known in one reading."""
        return self.program.constants[name] if name in self.program.constants else sizes.probed.get(name)

    def hints(self, sizes: Sizes, node: NodeProto) -> dict[str, Array]:
        """Values of inputs that may decide shapes: targets, axes, scales."""
        known = {name: self.known(sizes, name) for name in node.input if sizes.is_small(name)}
        return {name: value for name, value in known.items() if value is not None}

    def fold(self, node: NodeProto) -> None:
        """Follow the value of a node that depends on constants alone, or of a small one at the probe sizes."""
        names = [name for name in node.input if name]
        if not names or key(node) in NEVER_FOLDED:
            return
        if key(node) == "Shape":  # not even that of a constant is one, since constants shrink
            if all(names[0] in each.shapes for each in self.sizes):
                self.probe(node, [[_shape(node, each.shapes[names[0]])] for each in self.sizes])
            return
        with contextlib.suppress(CannotEvaluate):
            if all(name in self.program.constants for name in names):
                values = self.program.evaluate(node, [self.program.constants.get(name) for name in node.input])
                for name, value in zip(filter(None, node.output), values, strict=True):
                    self.constant(name, value)
            elif all(each.is_small(name) for each in self.sizes for name in node.output if name):
                rows = [[self.known(each, name) for name in node.input] for each in self.sizes]
                if all(row[place] is not None for row in rows for place, name in enumerate(node.input) if name):
                    self.probe(node, [self.program.evaluate(node, row) for row in rows])

    def probe(self, node: NodeProto, values: list[list[Array]]) -> None:
        """File values that are known at the probe sizes, one list of outputs per reading."""
        names = [name for name in node.input if name and not self.program.is_fixed(name)]
        selects = key(node) == "Shape" or (key(node) in SELECTIONS and self.selected.issuperset(names))
        for each, row in zip(self.sizes, values, strict=True):
            for name, value in zip(filter(None, node.output), row, strict=True):
                each.probed[name] = value
                each.put(name, type_of(value))
        for place, name in enumerate(filter(None, node.output)):
            same = all(np.array_equal(row[place], values[0][place]) for row in values)
            if selects:
                self.selected.add(name)
            # Sizes are fixed if two readings agree. What is computed with them may agree in both and differ elsewhere.
            if not names or (same and selects):
                self.program.fixed.add(name)

    # -- graphs inside nodes

    def enter(self, index: int, node: NodeProto) -> Sequence[Mapping[str, TypeProto]]:
        """Read the graphs inside ``node``; the types of its outputs, per reading."""
        if key(node) == "If":
            return self.branches(index, node)
        if not control.repeats(node, self.program.opset):
            return [{} for _ in self.sizes]
        name, body = bodies(node)[0]
        control.check(node, body)
        entered = [control.entering(node, body, each.types) for each in self.sizes]
        while True:  # a shape that changes from one iteration to the next is no shape
            inside = self.inside(body, entered)
            types = [each.types for each in inside.sizes]
            returned = [control.returning(node, body, *each) for each in zip(entered, types, strict=True)]
            if returned == entered:
                break
            entered = returned
        self.program.bodies[index, name] = inside.program
        outside = [each.types for each in self.sizes]
        return [control.leaving(node, body, *each) for each in zip(outside, entered, types, strict=True)]

    def branches(self, index: int, node: NodeProto) -> Sequence[Mapping[str, TypeProto]]:
        """Both branches of an If. One that contradicts itself at the probe sizes is not taken there, and stays."""
        found: dict[str, _Reader] = {}
        for name, body in bodies(node):
            control.check(node, body)
            try:
                found[name] = self.inside(body, [{} for _ in self.sizes])
            except ModelError as error:
                problem = error
        if not found:
            raise problem
        self.program.bodies.update({(index, name): branch.program for name, branch in found.items()})
        condition = self.known(self.sizes[0], node.input[0])
        taken = BRANCHES
        if condition is not None and self.program.is_fixed(node.input[0]):
            taken = BRANCHES[:1] if condition.all() else BRANCHES[1:]
        kinds: list[dict[str, TypeProto]] = [{} for _ in self.sizes]
        if not all(name in found for name in taken):
            return kinds
        returning = [found[name] for name in taken]
        for place, kind in enumerate(kinds):
            for slot, name in enumerate(node.output):
                types = [each.sizes[place].types.get(each.program.outputs[slot]) for each in returning]
                known = [each for each in types if each is not None]
                if len(known) == len(types):
                    kind[name] = reduce(common, known)
        return kinds

    def inside(self, body: GraphProto, entered: Sequence[Mapping[str, TypeProto]]) -> _Reader:
        """Read a graph inside a node, whose inputs have the types ``entered`` (per reading)."""
        outer = free(body)
        sizes = [each.inside(outer) for each in self.sizes]
        for each, kinds in zip(sizes, entered, strict=True):
            for name, kind in kinds.items():
                each.put(name, kind)
        return _Reader(self.program.model, body, sizes, outer, around=self)

    def finish(self) -> None:
        """Keep the first reading, and note which sizes are different in the other one."""
        first = self.sizes[0]
        self.program.shapes, self.program.probed = first.shapes, first.probed
        self.program.probe = first.batch, first.size
        for other in self.sizes[1:]:
            units = [first.batch, first.size, first.batch * first.size]
            grown = [other.batch, other.size, other.batch * other.size]
            for name, shape in list(first.shapes.items()):
                found = other.shapes.get(name)
                if found is None or len(found) != len(shape):
                    del first.shapes[name]
                elif found != shape:
                    self.program.dynamic[name] = {
                        axis: next((one // u for u, v in zip(units, grown, strict=True) if one * v == two * u), 0)
                        for axis, (one, two) in enumerate(zip(shape, found, strict=True))
                        if one != two
                    }


def _shape(node: NodeProto, shape: Shape) -> Array:
    """The output of a Shape node."""
    attribute = attributes(node)
    return np.array(shape[attribute.get("start", 0) : attribute.get("end")], np.int64)
