"""Weights in a file of their own beside the model, which protobuf needs over 2 GiB."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, set_external_data

from graph.errors import ModelError
from graph.files.copies import CONTENTS, skeleton
from graph.model.nodes import bodies

SMALL = 1024  # bytes; what is not larger stays in the model
ALIGNMENT = 4096  # of offsets, so that whoever reads the model may map the file


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor, the outermost initializers first: also those of attributes, inner graphs and functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for entry in node.attribute:
            yield from [entry.t] if entry.HasField("t") else entry.tensors
        for _, body in bodies(node):
            yield from _of_graph(body)


def load_external(tensor: TensorProto, model: Path) -> None:
    """Read the contents of a tensor that lie beside ``model``, in place.

    Raises:
        ModelError: they are missing, truncated, or outside the model's folder.
    """
    location = ExternalDataInfo(tensor).location
    folder, file = model.parent.resolve(), Path(model.parent, location).resolve()
    if not file.is_relative_to(folder):
        raise ModelError(
            f"{model}: the external data '{location}' of '{tensor.name}' lies outside the model's folder;"
            " copy it beside the model, with its name in the model"
        )
    try:
        load_external_data_for_tensor(tensor, str(model.parent))
    except Exception as error:  # onnx raises several kinds, among them its own checker's
        raise ModelError(
            f"{model}: cannot read the external data '{location}' of '{tensor.name}';"
            " it must lie beside the model, whole and not as a link"
        ) from error
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")


def write_apart(model: ModelProto, path: Path) -> None:
    """Write ``model``, and its large tensors to ``<name>.<hash of them>.data`` beside it.

    A name by contents: a crash between the two renames that follow harms no model that is there already.
    """
    light, originals = skeleton(model), list(model.graph.initializer)
    contents, moved = hashlib.sha256(), []
    data = path.with_name("data")
    with data.open("wb") as file:
        for place, tensor in enumerate(tensors(light)):
            source = originals[place] if place < len(originals) else tensor
            if size_of(source) > SMALL and source.data_type != TensorProto.STRING:
                content = _raw(source)
                file.write(bytes(-file.tell() % ALIGNMENT))
                moved.append((tensor, file.tell(), len(content)))
                file.write(content)
                contents.update(content)
            elif source is not tensor:
                tensor.CopyFrom(source)
    location = f"{path.name}.{contents.hexdigest()[:12]}.data"
    for tensor, offset, length in moved:
        for field in CONTENTS:
            tensor.ClearField(field)
        tensor.raw_data = b""  # onnx asks for it
        set_external_data(tensor, location, offset, length)
        tensor.ClearField("raw_data")
    data.rename(path.with_name(location))
    path.write_bytes(light.SerializeToString())


def size_of(tensor: TensorProto) -> int:
    """Bytes that the contents of a tensor take; protobuf would count them by writing them."""
    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return sum(map(len, tensor.string_data))
    return prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _raw(tensor: TensorProto) -> bytes:
    if not tensor.HasField("raw_data"):
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor))
    return tensor.raw_data
