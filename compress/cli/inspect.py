"""``compress inspect``: what could go, and what stands in the way?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import JsonPath, Quiet, check_outputs, out, say, verb, write_json


@verb
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Any ONNX file.")],
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Count parameters and MACs, list the channels that may go, and what holds back the others.

    Every parameter counts once, with the channel that it helps to make: what may go and what is held back add up.

    Example: `compress inspect model.onnx`
    """
    check_outputs(json_path, source=model)
    import graph
    from compress import tables
    from graph.inventory import inventory

    found = inventory(graph.analyse(graph.load(model)))
    for each in (tables.totals(found), tables.offered(found), tables.held(found)):
        if each is not None:
            out.print(each)
    for name in found.not_finite:
        say(f"{name} has NaN or infinities: zeros that it reads or makes cannot go")
    write_json(json_path, asdict(found))
