"""onnx's own backend tests as material: models with inputs, and the same models between weights that have zeros."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from models import ABSOLUTE, Array, session
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

FLOATS = {TensorProto.FLOAT: 1e-5, TensorProto.DOUBLE: 1e-5, TensorProto.FLOAT16: 2e-2}  # and what they agree to


class CannotRun(Exception):  # noqa: N818
    """Neither ONNX Runtime nor onnx's reference knows the model."""


@dataclass(frozen=True)
class Case:
    """A backend test: a model, and where its inputs are."""

    kind: str
    test: Any

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.test.name}"

    def model(self) -> ModelProto:
        """A model of one's own."""
        found = ModelProto()
        found.CopyFrom(self.test.model or onnx.load(Path(self.test.model_dir, "model.onnx")))
        return found

    def feeds(self, model: ModelProto) -> dict[str, Any]:
        """The inputs of the first data set; ones that may be left out and are have no entry."""
        values = self.test.data_sets[0][0] if self.test.data_sets else self._stored(model)
        return {value.name: found for value, found in zip(inputs(model), values, strict=False) if found is not None}

    def _stored(self, model: ModelProto) -> Iterator[Any]:
        folder = Path(self.test.model_dir, "test_data_set_0")
        for place, value in enumerate(inputs(model)):
            data = Path(folder, f"input_{place}.pb").read_bytes()
            if value.type.HasField("sequence_type"):
                yield numpy_helper.to_list(onnx.SequenceProto.FromString(data))
            else:
                yield numpy_helper.to_array(TensorProto.FromString(data))


def cases(*kinds: str) -> list[Case]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of numpy, on the overflows that are tested
        return [Case(kind, test) for kind in kinds for test in load_model_tests(kind=kind)]


def inputs(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that are fed."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def run(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    """Outputs in ONNX Runtime, where it can, else in onnx's reference implementation."""
    try:
        return list(session(model).run(None, feeds))
    except Exception:  # onnxruntime has an exception of its own for every kind of failure
        try:
            with np.errstate(all="ignore"):
                return list(ReferenceEvaluator(model).run(None, feeds))
        except Exception as error:  # whatever numpy raises
            raise CannotRun(str(error)) from error


def tolerance(model: ModelProto) -> float:
    """What outputs agree to, relative to the largest."""
    return max((FLOATS.get(value.type.tensor_type.elem_type, 0) for value in model.graph.input), default=0) or 1e-5


def difference(expected: Sequence[Any], found: Sequence[Any], relative: float) -> str:
    """What differs between the outputs of two models; empty if nothing does."""
    for one, two in zip(expected, found, strict=True):
        if isinstance(one, list):
            if len(one) != len(two) or (inner := difference(one, two, relative)):
                return inner if len(one) == len(two) else f"{len(one)} and {len(two)} tensors"
            continue
        a, b = np.asarray(one), np.asarray(two)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{a.dtype}{a.shape} became {b.dtype}{b.shape}"
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return "other values"
            continue
        finite = np.isfinite(a)
        scale = np.abs(a[finite]).max(initial=0).astype(np.float64)
        worst = np.abs(a[finite].astype(np.float64) - b[finite]).max(initial=0)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not worst <= relative * scale + ABSOLUTE:
            return f"{worst} of {scale}"
    return ""


def sandwich(case: Case, rng: np.random.Generator) -> tuple[ModelProto, dict[str, Any]] | None:
    """The model with its float inputs made by linear layers, and its float outputs read by some; and what to feed it.

    The layers have zeros along the axes between, so that channels may leave through the model if it lets them. Other
    inputs become constants, and some sizes are declared dynamic. ``None`` where nothing comes in or nothing goes out.
    """
    model, result = case.model(), case.model()
    feeds = case.feeds(model)
    if not any(opset.domain in ("", "ai.onnx") and opset.version >= 7 for opset in model.opset_import):
        return None  # before that, the layers' Add does not broadcast
    layers = _Layers(result, rng)
    made = False
    for value in inputs(model):
        array, kind = feeds.get(value.name), value.type.tensor_type.elem_type
        if not isinstance(array, np.ndarray) or not kind:  # a sequence, or an optional input
            continue
        result.graph.input.remove(value)
        floats = kind in FLOATS and array.ndim > 0
        if floats and array.size and not (made and rng.random() < 0.4):
            layers.make(value.name, array.shape, kind)
            made = True
        else:
            array = array.copy()
            if floats and rng.random() < 0.4:
                axis = rng.integers(array.ndim)
                np.moveaxis(array, axis, 0)[rng.random(array.shape[axis]) < 0.5] = 0
            layers.constant(array, value.name, kind)
    read = False
    for value in model.graph.output:
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        kind = value.type.tensor_type.elem_type
        if kind in FLOATS and dims and all(dims) and value.name not in feeds:
            result.graph.output.remove(value)
            layers.read(value.name, dims, kind)
            read = True
    layers.insert()
    kept = {value.name: feeds[value.name] for value in inputs(result) if value.name in feeds} | layers.feeds
    if not takes_other_sizes(result, kept):
        for value in inputs(result):
            for dim, size in zip(value.type.tensor_type.shape.dim, np.shape(kept.get(value.name, ())), strict=False):
                dim.dim_value = size
    return (result, kept) if made and read else None


def takes_other_sizes(model: ModelProto, feeds: dict[str, Any]) -> bool:
    """Whether ONNX Runtime takes the model with dynamic axes twice as long, too."""
    longer = dict(feeds)
    for value in inputs(model):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                longer[value.name] = np.concatenate([longer[value.name]] * 2, axis)
    try:
        session(model).run(None, longer)
    except Exception:  # onnxruntime has an exception of its own for every kind of failure
        return False
    return True


class _Layers:
    """Linear layers before and behind a model. Their products are exact, so that the order of sums does not matter."""

    def __init__(self, model: ModelProto, rng: np.random.Generator) -> None:
        self.graph, self.rng = model.graph, rng
        self.alone = len(inputs(model)) == 1  # else a size that is said to be dynamic might have to be another's
        self.before: list[onnx.NodeProto] = []
        self.feeds: dict[str, Array] = {}  # of the new inputs

    def constant(self, array: Array, name: str, kind: int) -> str:
        array = array.astype(helper.tensor_dtype_to_np_dtype(kind))
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def weight(self, *shape: int, zero: int) -> Array:
        """Small multiples of a quarter, some of them zero all along an axis."""
        weight = self.rng.integers(1, 5, shape) * self.rng.choice([-0.25, 0.25], shape)
        dead = self.rng.random(shape[zero]) < 0.4
        np.moveaxis(weight, zero, 0)[dead & ~dead.all()] = 0
        return weight

    def linear(
        self, source: str, out: str, axis: int, rank: int, weight: Array, kind: int, shift: Array | None = None
    ) -> list[onnx.NodeProto]:
        """``out`` = ``source`` times ``weight`` [in, out] along an axis."""
        turn = list(range(rank))
        turn[axis], turn[-1] = turn[-1], axis
        stem = f"{out}_{axis}"
        nodes = [
            helper.make_node("Transpose", [source], [f"{stem}_turned"], perm=turn),
            helper.make_node("MatMul", [f"{stem}_turned", self.constant(weight, f"{stem}_weight", kind)], [stem]),
        ]
        if shift is not None:
            nodes.append(helper.make_node("Add", [stem, self.constant(shift, f"{stem}_shift", kind)], [f"{stem}_sum"]))
        return [*nodes, helper.make_node("Transpose", [nodes[-1].output[0]], [out], perm=turn)]

    def make(self, name: str, shape: Sequence[int], kind: int) -> None:
        """A new input that linear layers along most axes turn into ``name``."""
        sizes, declared, last = list(shape), list[int | str](shape), name
        nodes: list[onnx.NodeProto] = []
        for axis, size in enumerate(shape):
            if size > 1 and self.rng.random() < 0.8:
                weight = self.weight(2, size, zero=1)
                shift = self.weight(size, zero=0) * (self.rng.random(size) < 0.5)
                before = f"{name}_before{axis}"
                nodes[:0] = self.linear(before, last, axis, len(shape), weight, kind, shift if not nodes else None)
                last, sizes[axis], declared[axis] = before, 2, 2
            elif self.alone and self.rng.random() < 0.4:
                declared[axis] = f"{name}_size{axis}"  # any
        self.graph.input.append(helper.make_tensor_value_info(last, kind, declared))
        self.feeds[last] = (self.rng.integers(-6, 7, sizes) / 4).astype(helper.tensor_dtype_to_np_dtype(kind))
        self.before += nodes

    def read(self, name: str, shape: Sequence[int], kind: int) -> None:
        """A new output that linear layers along most axes make of ``name``."""
        sizes, last = list(shape), name
        for axis in [axis for axis, size in enumerate(shape) if size > 1 and self.rng.random() < 0.8]:
            after = f"{name}_after{axis}"
            weight = self.weight(shape[axis], 2, zero=0)
            self.graph.node.extend(self.linear(last, after, axis, len(shape), weight, kind))
            last, sizes[axis] = after, 2
        self.graph.output.append(helper.make_tensor_value_info(last, kind, [None] * len(sizes)))

    def insert(self) -> None:
        for node in reversed(self.before):
            self.graph.node.insert(0, node)
