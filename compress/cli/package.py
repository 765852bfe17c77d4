"""``compress package``: a model with all that its receiver needs to run and to check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import DataDir, DataName, JsonPath, Quiet, check_outputs, say, verb, write_json
from compress.cli.sessions import Dims, Given, pairs, sizes


@verb
def package(
    model: Annotated[Path, typer.Argument(metavar="SLIM.onnx", help="The model to hand over.")],
    folder: Annotated[Path, typer.Option("-o", "--out", metavar="BUNDLE", help="The folder; a bundle is replaced.")],
    certificate: Annotated[Path | None, typer.Option(metavar="CERT.json", help="Of `compress shrink`.")] = None,
    verification: Annotated[
        Path | None, typer.Option("--verify", metavar="JSON", help="Of `compress verify SLIM.onnx --json`.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(metavar="JSON", help="Of `compress bench SLIM.onnx --json`.")] = None,
    data: DataName = None,
    data_dir: DataDir = None,
    inside: Annotated[
        str | None,
        typer.Option(metavar="preprocessing,labels", help="Make these a part of the graph, not only of its metadata."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the model; that of the file if not given.")] = None,
    author: Annotated[str | None, typer.Option(help="Who made it.")] = None,
    license: Annotated[str | None, typer.Option(metavar="SPDX", help="Such as apache-2.0.")] = None,
    dim: Dims = None,
    given: Given = None,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Write a folder with the model, golden inputs and outputs, a card, and a manifest of hashes and figures.

    Its receiver checks it with `compress verify BUNDLE`, or with numpy and onnxruntime alone: `python -m runtime.check
    BUNDLE`. Preprocessing and labels come from the model's metadata or from `--data`.

    Example: `compress package slim.onnx -o bundle --certificate slim.json --data cifar10 --data-dir data`
    """
    check_outputs(json_path, source=model)
    from compress.bundle.folders import check_replaceable
    from compress.bundle.packaging import Options
    from compress.bundle.packaging import package as write
    from runtime.bundle import MANIFEST

    check_replaceable(folder, MANIFEST)
    options = Options(
        name=name,
        author=author,
        license=license,
        data=data,
        data_dir=data_dir,
        inside=tuple(inside.split(",")) if inside else (),
        certificate=certificate,
        bench=bench,
        verification=verification,
        dims=sizes("--dim", dim),
        given=pairs("--input", given),
    )
    checked = write(model, folder, options)
    *outputs, verdict = checked.lines()
    for line in outputs:
        say(line)
    say(f"{folder}: {verdict}")
    write_json(json_path, checked.to_dict())
