"""Read and write ONNX files: clear refusals, whole files, and the envelope (metadata, IR, opset) untouched."""

from __future__ import annotations

import glob
import hashlib
import tempfile
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from graph.errors import ModelError
from graph.files.external import load_external, size_of, tensors, write_apart
from graph.files.pieces import pieces

PROTOBUF_LIMIT = 2**31 - 2**24  # protobuf stops at 2 GiB; leave room for the graph itself

#: What other files that are taken for ONNX begin with.
FOREIGN = {
    b"version https://git-lfs": "a pointer of git-lfs, not the file itself: git lfs pull",
    b"PK\x03\x04": "a zip archive, as PyTorch's checkpoints are, not an ONNX file: export the model first",
    b"\x80\x02": "a pickle, as PyTorch's old checkpoints are, not an ONNX file: export the model first",
}


def load(path: str | Path) -> onnx.ModelProto:
    """Read a model with its external data.

    Raises:
        ModelError: the file is missing, empty, truncated, not ONNX or has no graph, or its external data is missing,
            truncated or outside the model's folder.
    """
    path = Path(path)
    model = parse(path)
    for tensor in tensors(model):
        if uses_external_data(tensor):
            load_external(tensor, path)
    return model


def parse(path: Path) -> onnx.ModelProto:
    """Read a model without its external data; errors as of `load`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; check the path") from error
    if not data:
        raise ModelError(f"{path} is empty; export or copy it again")
    for start, what in FOREIGN.items():
        if data.startswith(start):
            raise ModelError(f"{path} is {what}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not an ONNX file, or is truncated ({len(data):,} bytes); export it again"
        ) from error
    if not model.ir_version or not model.opset_import or not model.HasField("graph"):
        raise ModelError(f"{path} is not an ONNX model: it has no graph, IR version or opset; export it again")
    return model


def save(model: onnx.ModelProto, path: str | Path) -> None:
    """Write ``model``, whole or not at all; over 2 GiB the weights go to ``<name>.<hash>.data`` beside it.

    Raises:
        ModelError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            if sum(map(size_of, tensors(model))) < PROTOBUF_LIMIT:
                with Path(folder, path.name).open("wb") as whole:
                    whole.writelines(pieces(model))
            else:
                write_apart(model, Path(folder, path.name))
            written = sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name)
            for file in written:  # the model itself comes last
                file.replace(path.with_name(file.name))
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from error
    for stale in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 12}.data"):
        if stale.name not in {file.name for file in written}:
            stale.unlink()


def digest(model: onnx.ModelProto) -> str:
    """SHA-256 over the graph, piece by piece, since protobuf does not serialise 2 GiB at once."""
    content = hashlib.sha256()
    for piece in [*model.graph.initializer, *model.graph.node, *model.graph.input, *model.graph.output]:
        content.update(piece.SerializeToString(deterministic=True))
    return content.hexdigest()


def files(path: Path) -> list[Path]:
    """The file of a model and those of its external data; errors as of `load`."""
    names = {ExternalDataInfo(tensor).location for tensor in tensors(parse(path)) if uses_external_data(tensor)}
    return [path, *(path.parent / name for name in sorted(names))]
