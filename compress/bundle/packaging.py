"""From an ONNX file to a folder that its receiver can check without this tool's training half."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto

import graph
from compress import __version__
from compress.bundle.card import card
from compress.bundle.evidence import read_bench, read_certificate, read_verification
from compress.bundle.finishing import INSIDE, Source
from compress.bundle.folders import replaced_folder
from compress.bundle.recording import CASES, measure, record
from compress.errors import NotEqual
from compress.files import write_bytes, write_text
from compress.inputs import read_inputs
from compress.registry import unknown
from compress.verify.verifying import float_noise
from graph.counts import size
from graph.model.reader import read
from runtime import Session, open_session, random_cases
from runtime.bundle import CARD, GOLDEN, MANIFEST, MODEL, SCHEMA, file_entry, seal
from runtime.check import Checked, check
from runtime.golden import Case, write_golden
from runtime.session import VERSION

if TYPE_CHECKING:
    from compress.data import Data

CERTIFICATE, BENCH = "certificate.json", "bench.json"


@dataclass(frozen=True)
class Options:
    """What a bundle should hold besides the model.

    Attributes:
        name: of the model; that of the file if None.
        author: for metadata and card.
        license: the same, as an SPDX identifier.
        data: name of the data set whose preprocessing, labels and test images are taken.
        data_dir: where it lies.
        inside: of ``preprocessing`` and ``labels``, what becomes a part of the graph.
        certificate: written by ``compress shrink``.
        bench: written by ``compress bench --json``.
        verification: written by ``compress verify --json``.
        dims: sizes of dynamic axes by name, for random golden inputs.
        given: golden inputs that are not random, by name: a number, or an .npy or .npz file.

    Raises:
        UserError: something else should go inside.
    """

    name: str | None = None
    author: str | None = None
    license: str | None = None
    data: str | None = None
    data_dir: Path | None = None
    inside: tuple[str, ...] = ()
    certificate: Path | None = None
    bench: Path | None = None
    verification: Path | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.inside:
            if name not in INSIDE:
                raise unknown("part", name, list(INSIDE))


def package(path: Path, folder: Path, options: Options) -> Checked:
    """Write a bundle; equal files and options give equal bytes on one machine.

    The golden outputs are those of ``path`` itself, so that the check of the finished bundle also shows that
    packaging changed nothing.

    Raises:
        ModelError: the file is no model.
        SessionError: the model does not run, or an output is neither numbers nor text.
        UserError: an option does not fit the model, or the folder holds something else than a bundle.
        NotEqual: the packaged model gives other outputs.
    """
    source = Source.of(path, graph.load(path), options.inside, _data(options))
    name = options.name or path.stem
    with replaced_folder(folder, MANIFEST) as new:
        evidence = _evidence(path, new, options)
        said = {"model_author": options.author, "model_license": options.license}
        model = source.finished(name, said)
        graph.save(model, new / MODEL)
        session = replace(open_session(new / MODEL), name=str(path))  # for messages
        for value in session.outputs:
            _ = value.dtype  # refuses what cannot be compared
        cases = _cases(source, session, options)
        write_golden(new / GOLDEN, cases)
        content = {
            "schema": SCHEMA,
            "model": name,
            "model_path": MODEL,
            "author": options.author,
            "license": options.license,
            "data": options.data,
            "source": file_entry(path),
            **_technical(model, session),
            "preprocessing": source.preprocessing and asdict(source.preprocessing),
            "labels": list(source.labels),
            "inside": list(source.inside),
            "size": asdict(size(read(model)).of(new / MODEL)),
            **evidence,
            "golden": {
                "cases": len(cases),
                "inputs": f"test images of {options.data}" if options.data else "random inputs",
                **source.session.describe(),
            },
            "tolerances": measure(new / MODEL, cases, float_noise(model)).to_dict(),
            "tools": _tools(),
        }
        write_text(new / CARD, card(content))
        files = {each.name: file_entry(each) for each in sorted(new.iterdir())}
        write_bytes(new / MANIFEST, seal({**content, "files": files}))
        checked = check(new)
        if checked.beyond:
            differences = ", ".join(f"'{each.name}' by {each.difference}" for each in checked.beyond)
            raise NotEqual(f"{path} and its packaged form differ ({differences}); nothing was written")
    return replace(checked, bundle=replace(checked.bundle, folder=folder))


def _data(options: Options) -> Data | None:
    if options.data is None:
        return None
    from compress.data import load  # pillow and the rest are needed for data only

    return load(options.data, options.data_dir)


def _evidence(path: Path, folder: Path, options: Options) -> dict[str, Any]:
    """The figures of what other commands found out about ``path``; files that say more go into ``folder``."""
    sha256 = file_entry(path)["sha256"]
    found: dict[str, Any] = {"shrunk": None, "verification": None, "latency": None}
    if options.certificate is not None:
        found["shrunk"] = read_certificate(options.certificate, sha256)
        write_bytes(folder / CERTIFICATE, options.certificate.read_bytes())
    if options.verification is not None:
        found["verification"] = read_verification(options.verification, sha256)
    if options.bench is not None:
        results, found["latency"] = read_bench(options.bench, path.name, sha256)
        write_text(folder / BENCH, json.dumps(results, allow_nan=False) + "\n")
    return found


def _cases(source: Source, session: Session, options: Options) -> list[Case]:
    if source.data is not None:
        return record(source.run, source.images(source.data, session))
    given = read_inputs(session, options.given)
    return record(source.run, random_cases(session, seeds=CASES, dims=options.dims, given=given))


def _technical(model: ModelProto, session: Session) -> dict[str, Any]:
    """What a runtime must be able to do."""
    operators: dict[str, int] = {}
    for node in model.graph.node:
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        operators[name] = operators.get(name, 0) + 1
    opsets = {each.domain: each.version for each in model.opset_import}
    return {
        "ir_version": model.ir_version,
        "opset_version": opsets.get(""),
        "opsets": opsets,
        "operators": dict(sorted(operators.items())),
        "io_ports": session.ports(),
    }


def _tools() -> dict[str, str]:
    return {
        "onnx-compress": __version__,
        "onnx": onnx.__version__,
        "onnxruntime": VERSION,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
