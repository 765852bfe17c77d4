"""Preprocessing and labels as nodes of the model itself, so that whoever runs it can forget neither."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compress.errors import UserError
from runtime.session import Array

CLASS, LABEL = "class", "label"


@dataclass(frozen=True)
class Preprocessing:
    """How 8-bit pixels become the input of a model: ``(x * scale - mean) / std``, in float32.

    Attributes:
        scale: the reciprocal of a whole number, by which pixels are divided.
        mean: per channel, after scaling.
        std: per channel.
        layout: of the input: ``NCHW`` or ``NHWC``.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str = "NCHW"

    @classmethod
    def of(cls, text: str) -> Preprocessing:
        """From the metadata of a model.

        Raises:
            UserError: it says something else.
        """
        try:
            content = json.loads(text)
            mean, std = (tuple(map(float, content[name])) for name in ("mean", "std"))
            found = cls(float(content["scale"]), mean, std, content.get("layout", "NCHW"))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"the metadata 'preprocessing' of the model cannot be read: {text}") from error
        if found.layout not in ("NCHW", "NHWC") or len(mean) != len(std) or found.scale <= 0 or 0 in std:
            raise UserError(f"the metadata 'preprocessing' of the model makes no sense: {text}")
        return found

    def json(self) -> str:
        """As metadata of a model."""
        return json.dumps(asdict(self))

    @property
    def axis(self) -> int:
        """Of the channels."""
        return self.layout.index("C")

    def constants(self) -> tuple[Array, Array, Array]:
        """What to divide by, to subtract, and to divide by, in this order; broadcastable to [n, ...]."""
        shape = [1, 1, 1, 1]
        shape[self.axis] = len(self.mean)
        mean, std = (np.asarray(each, np.float32).reshape(shape) for each in (self.mean, self.std))
        return np.asarray(1 / self.scale, np.float32), mean, std

    def apply(self, pixels: Array) -> Array:
        """uint8 [n, ...] to float32 [n, ...]."""
        divisor, mean, std = self.constants()
        return np.asarray((pixels.astype(np.float32) / divisor - mean) / std)


def embed_preprocessing(model: ModelProto, preprocessing: Preprocessing) -> None:
    """Let ``model`` take ``pixels``, uint8 [n, ...], instead of its one float input.

    Raises:
        UserError: the model has not one image with these channels as its input.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    kind = inputs[0].type.tensor_type if len(inputs) == 1 else None
    sizes = [dim.dim_value for dim in kind.shape.dim] if kind is not None else []
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    if kind is None or kind.elem_type not in floats or len(sizes) != 4:
        raise UserError("preprocessing goes inside a model with one float input of 4 axes")
    if sizes[preprocessing.axis] not in (0, len(preprocessing.mean)):
        raise UserError(
            f"the model takes {sizes[preprocessing.axis]} channels, and its preprocessing is for "
            f"{len(preprocessing.mean)}: name the data it was made for with --data"
        )
    old = inputs[0].name
    pixels, cast, scaled, centred, last = _fresh(model, "pixels", "cast", "scaled", "centred", "normalised")
    constants = dict(zip(_fresh(model, "divisor", "mean", "std"), preprocessing.constants(), strict=True))
    divisor, mean, std = constants
    half = kind.elem_type == TensorProto.FLOAT16
    nodes = [
        helper.make_node("Cast", [pixels], [cast], to=TensorProto.FLOAT),
        helper.make_node("Div", [cast, divisor], [scaled]),
        helper.make_node("Sub", [scaled, mean], [centred]),
        helper.make_node("Div", [centred, std], [last if half else old]),
    ]
    if half:
        nodes.append(helper.make_node("Cast", [last], [old], to=TensorProto.FLOAT16))
    inputs[0].name, kind.elem_type = pixels, TensorProto.UINT8
    _add(model, constants, nodes, first=True)


def embed_labels(model: ModelProto, labels: Sequence[str]) -> None:
    """Let ``model`` say the class and the label of its largest score, as further outputs ``class`` and ``label`` [n].

    Raises:
        UserError: its first output is not one score per label, or it has tensors of these names.
    """
    scores = model.graph.output[0]
    sizes = [dim.dim_value for dim in scores.type.tensor_type.shape.dim]
    if len(sizes) != 2 or sizes[1] != len(labels):
        raise UserError(f"'{scores.name}' is not one score for each of the {len(labels)} labels")
    if {CLASS, LABEL} & _names(model):
        raise UserError(f"the model has tensors called '{CLASS}' or '{LABEL}': labels cannot go inside")
    (table,) = _fresh(model, "labels")
    batch = scores.type.tensor_type.shape.dim[0]
    size = batch.dim_param or batch.dim_value or None
    nodes = [
        helper.make_node("ArgMax", [scores.name], [CLASS], axis=1, keepdims=0),
        helper.make_node("Gather", [table, CLASS], [LABEL]),
    ]
    _add(model, {table: np.array(labels, dtype=object)}, nodes, first=False)
    for name, kind in ((CLASS, TensorProto.INT64), (LABEL, TensorProto.STRING)):
        model.graph.output.append(helper.make_tensor_value_info(name, kind, [size]))


def _names(model: ModelProto) -> set[str]:
    graph = model.graph
    names = {value.name for value in [*graph.input, *graph.output, *graph.value_info]}
    names |= {tensor.name for tensor in graph.initializer}
    return names | {name for node in graph.node for name in [*node.input, *node.output]}


def _fresh(model: ModelProto, *wanted: str) -> list[str]:
    """Names that no tensor of ``model`` has."""
    taken, fresh = _names(model), []
    for name in wanted:
        while name in taken:
            name += "_"
        fresh.append(name)
    return fresh


def _add(model: ModelProto, constants: dict[str, Array], nodes: Sequence[NodeProto], *, first: bool) -> None:
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    model.graph.initializer.extend(tensors)
    if model.ir_version < 4:  # where every initializer is an input, too
        model.graph.input.extend(
            helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in tensors
        )
    there = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *there] if first else [*there, *nodes])
