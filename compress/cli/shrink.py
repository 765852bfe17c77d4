"""``compress shrink``: the same function with fewer channels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import DataDir, DataName, JsonPath, Quiet, check_outputs, out, say, verb, write_json


@verb
def shrink(
    source: Annotated[Path, typer.Argument(metavar="IN.onnx", help="Any ONNX file.")],
    target: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.onnx", help="The shrunk model.")],
    certificate: Annotated[
        Path | None, typer.Option(metavar="CERT.json", help="What went and why; OUT.json if not given.")
    ] = None,
    align: Annotated[
        str,
        typer.Option(
            metavar="auto|off|N",
            help="Keep dead channels until widths are multiples of N; auto measures whether that is faster here.",
        ),
    ] = "off",
    select: Annotated[
        str,
        typer.Option(
            metavar="auto|never|always", help="Gathers where branches need different channels; auto where they pay."
        ),
    ] = "auto",
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not run both in ONNX Runtime.")] = False,
    data: DataName = None,
    data_dir: DataDir = None,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Remove every channel that provably has no effect, exactly.

    Fewer channels are not always faster, since CPU kernels work in blocks of them: `--align auto` keeps a few dead
    ones where that is faster here. It measures this machine once, for half a minute, and then each model.

    Both models are run on random inputs, and on real ones with `--data`; if they differ by more than float
    noise, nothing is written and the status is 1.

    Example: `compress shrink model.onnx -o slim.onnx`
    """
    proof = certificate or target.parent / f"{target.stem}.json"
    check_outputs(target, proof, json_path, source=source)
    from compress import tables
    from compress.shrinking import shrink_file

    result = shrink_file(
        source,
        target,
        certificate=proof,
        align=align,
        select=select,
        verify=not no_verify,
        data=data,
        data_dir=data_dir,
    )
    found = result.certificate
    for table in (tables.sizes(found), tables.removed(found), tables.kept(found), tables.frozen(found)):
        if table is not None:
            out.print(table)
    if result.parity is not None:
        out.print(tables.parity(result.parity))
    say(f"{target}, certificate in {proof}")
    write_json(json_path, {"model": str(target), "certificate": str(proof), **asdict(found)})
