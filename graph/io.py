"""Read and write ONNX files: clear refusals, whole files, and the envelope (metadata, IR, opset) untouched."""

from __future__ import annotations

import glob
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

from graph.errors import ModelError

PROTOBUF_LIMIT = 2**31 - 2**20  # protobuf stops at 2 GiB; leave room for the graph itself


def load(path: str | Path) -> onnx.ModelProto:
    """Read a model with its external data.

    Raises:
        ModelError: the file is missing, empty, truncated, not ONNX, has no graph, or its external data is missing.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; check the path") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not an ONNX file, or is truncated ({len(data):,} bytes); export it again"
        ) from error
    if not model.ir_version or not model.opset_import or not model.HasField("graph"):
        raise ModelError(f"{path} is not an ONNX model: it has no graph, IR version or opset; export it again")
    if not model.graph.output:
        raise ModelError(f"{path} has an empty graph: it has no outputs; export it again")
    _load_external(model, path)
    return model


def save(model: onnx.ModelProto, path: str | Path) -> None:
    """Write ``model``, whole or not at all; over 2 GiB the weights go to ``<name>.<hash>.data`` beside it.

    Raises:
        ModelError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if sum(tensor.ByteSize() for tensor in _tensors(model.graph)) < PROTOBUF_LIMIT:
            _replace(path, model.SerializeToString())
        else:
            _replace_with_data(path, model)
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from error


def digest(model: onnx.ModelProto) -> str:
    """SHA-256 over the graph, piece by piece, since protobuf does not serialise 2 GiB at once."""
    content = hashlib.sha256()
    for piece in [*model.graph.initializer, *model.graph.node, *model.graph.input, *model.graph.output]:
        content.update(piece.SerializeToString(deterministic=True))
    return content.hexdigest()


def files(path: Path) -> list[Path]:
    """The file of a model and those of its external data."""
    model = onnx.load(path, load_external_data=False)
    names = {ExternalDataInfo(tensor).location for tensor in model.graph.initializer if uses_external_data(tensor)}
    return [path, *(path.parent / name for name in sorted(names))]


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # noqa: PTH101  mkstemp makes private files
        os.replace(name, path)  # noqa: PTH105
    finally:
        Path(name).unlink(missing_ok=True)


def _replace_with_data(path: Path, model: onnx.ModelProto) -> None:
    """The data file is named by its content, so that a crash between the two renames harms neither model."""
    location = f"{path.name}.{digest(model)[:12]}.data"
    light = onnx.ModelProto()
    light.CopyFrom(model)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        whole = Path(folder, path.name)
        onnx.save_model(light, str(whole), save_as_external_data=True, location=location, size_threshold=1024)
        os.replace(whole.with_name(location), path.with_name(location))  # noqa: PTH105
        os.replace(whole, path)  # noqa: PTH105
    for stale in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 12}.data"):
        if stale.name != location:
            stale.unlink()


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    for tensor in _tensors(model.graph):
        if uses_external_data(tensor):
            location = ExternalDataInfo(tensor).location
            try:
                load_external_data_for_tensor(tensor, str(path.parent))
            except Exception as error:  # onnx raises several kinds, among them its own checker's
                raise ModelError(
                    f"{path}: cannot read the external data '{location}' of '{tensor.name}';"
                    " it must lie beside the model"
                ) from error
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initializers and attributes, also of sub-graphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t, *attribute.tensors]
            for body in [attribute.g, *attribute.graphs]:
                yield from _tensors(body)
