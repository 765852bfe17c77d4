"""What is handed over: a folder with a model, golden inputs and outputs, a card, and a manifest of all of it.

Only the standard library is needed to know that a bundle is whole; nothing in it is run or trusted before that.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from runtime.errors import SessionError
from runtime.parity import Tolerance

Ports: TypeAlias = list[tuple[str, str]]

SCHEMA = 1
MANIFEST, MODEL, GOLDEN, CARD = "manifest.json", "model.onnx", "golden.npz", "MODEL_CARD.md"
LONGEST_MANIFEST = 2**26  # bytes


@dataclass(frozen=True)
class Bundle:
    """A folder whose files are what its manifest says.

    Attributes:
        folder: where it is.
        manifest: all that is said about the model; see docs/bundle.md.
        name: what the model is called.
        ports: name and type of every input and output, by side.
        tolerance: how far outputs may be from the golden ones.
        special: the same of outputs that need another one.
    """

    folder: Path
    manifest: Mapping[str, Any]
    name: str
    ports: Mapping[str, Ports]
    tolerance: Tolerance
    special: Mapping[str, Tolerance]


def port_types(ports: Iterable[Mapping[str, Any]]) -> Ports:
    """Name and type of each; shapes are as far known as onnxruntime's optimisation goes."""
    return [(str(port["name"]), str(port["type"])) for port in ports]


def seal(content: Mapping[str, Any]) -> bytes:
    """A manifest as a file: JSON, with a digest of itself, so that a change of any bit shows."""
    digest = hashlib.sha256(_dump(content)).hexdigest()
    return _dump({**content, "digest": digest})


def file_entry(path: Path) -> dict[str, Any]:
    """Hash and size of a file, as the manifest lists them."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def open_bundle(folder: Path) -> Bundle:
    """Read the manifest of a bundle and hold its files against it.

    Raises:
        SessionError: it is no bundle; its schema is newer than this version; a file is missing, was changed, or is
            one too many; or something in it is no plain file, such as a link.
    """
    names = _plain_files(folder)
    manifest = _read_manifest(folder / MANIFEST)
    try:
        files = {str(name): (str(entry["sha256"]), int(entry["bytes"])) for name, entry in manifest["files"].items()}
        allowed = manifest["tolerances"]
        ports = {side: port_types(manifest["io_ports"][side]) for side in ("inputs", "outputs")}
        special = {str(name): _tolerance(entry) for name, entry in allowed["outputs"].items()}
        bundle = Bundle(folder, manifest, str(manifest["model"]), ports, _tolerance(allowed), special)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SessionError(f"{folder / MANIFEST} lacks what a bundle needs, or has it in another form") from error
    if missing := sorted({MODEL, GOLDEN, CARD, *files} - names):
        raise SessionError(f"{folder} lacks {', '.join(missing)}: copy the whole bundle again")
    if extra := sorted(names - files.keys() - {MANIFEST}):
        raise SessionError(f"{folder} holds {', '.join(extra)}, of which its manifest knows nothing: remove it")
    for name, (sha256, size) in files.items():
        found = file_entry(folder / name)
        if (found["sha256"], found["bytes"]) != (sha256, size):
            raise SessionError(f"{folder / name} is not the file that was packaged: copy the bundle again")
    return bundle


def _plain_files(folder: Path) -> set[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise SessionError(f"cannot open the bundle {folder}: {error.strerror}") from error
    if MANIFEST not in {entry.name for entry in entries}:
        raise SessionError(f"{folder} is no bundle: it has no {MANIFEST}")
    for entry in entries:
        if not entry.is_file(follow_symlinks=False):
            what = "a link" if entry.is_symlink() else "no file"
            raise SessionError(f"{folder / entry.name} is {what}: a bundle is a folder of plain files")
    return {entry.name for entry in entries}


def _read_manifest(path: Path) -> dict[str, Any]:
    damaged = SessionError(f"{path} was changed or is damaged: copy the bundle again")
    if path.stat().st_size > LONGEST_MANIFEST:
        raise SessionError(f"{path} is longer than {LONGEST_MANIFEST:,} bytes: that is no manifest")
    data = path.read_bytes()
    try:
        content = json.loads(data)
        schema = content["schema"]
        if isinstance(schema, int) and schema > SCHEMA:
            raise SessionError(
                f"{path} is of schema {schema}, this version reads up to {SCHEMA}: upgrade onnx-compress"
            )
        del content["digest"]
        if schema == SCHEMA and seal(content) == data:
            return dict(content)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise damaged from error
    raise damaged


def _tolerance(entry: Mapping[str, Any]) -> Tolerance:
    return Tolerance(float(entry["rtol"]), float(entry["atol"]))


def _dump(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
