"""``compress demo``: the whole way on data that comes with the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import JsonPath, Quiet, fail, out, verb, write_json


@verb
def demo(
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where everything goes.")] = Path("demo"),
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Train to exact zeros, export, shrink, verify and bench on scikit-learn's digits; nothing is downloaded.

    Example: `compress demo`
    """
    from compress.demonstration import demonstrate

    result = demonstrate(folder, say=(lambda _: None) if quiet else out.print)
    out.print(result.table())
    out.print(f"picture: {result.picture}")
    write_json(json_path, result.to_dict())
    if not result.held:
        raise fail("the shrunk model differs from the trained one, or the demo missed its goal")
