"""``compress demo``: the whole way on data that comes with the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import JsonPath, Quiet, check_outputs, fail, out, say, verb, write_json


@verb
def demo(
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Takes it all.")] = Path("demo"),
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Train to exact zeros, export, shrink, verify and bench on scikit-learn's digits; nothing is downloaded.

    Example: `compress demo`
    """
    check_outputs(json_path)
    from compress.demonstration import demonstrate
    from compress.progress import Silent, progress

    result = demonstrate(folder, say, Silent if quiet else progress)
    out.print(result.table())
    timed = result.latency.candidate
    if timed.reason:
        say(f"the latency is {timed.stability}: {timed.reason}")
    say(f"picture: {result.picture}")
    write_json(json_path, result.to_dict())
    if not result.held:
        raise fail("the shrunk model differs from the trained one, or the demo missed its goal")
