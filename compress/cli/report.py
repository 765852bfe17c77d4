"""``compress report``: a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import Quiet, check_outputs, say, verb


@verb
def report(
    path: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A folder of `compress train` or `package`.")],
    page: Annotated[Path, typer.Option("-o", "--out", metavar="REPORT.html", help="The page.")],
    certificate: Annotated[
        Path | None, typer.Option(metavar="CERT.json", help="Of `compress shrink`, for a run.")
    ] = None,
    verification: Annotated[
        Path | None, typer.Option("--verify", metavar="JSON", help="Of `compress verify --json`, for a run.")
    ] = None,
    bench: Annotated[Path | None, typer.Option(metavar="JSON", help="Of `compress bench --json`, for a run.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page: curves and channels of a training, or size, speed and accuracy of a bundle.

    It needs no network and runs no scripts. A bundle brings what is known about it; a run is told by the options.

    Example: `compress report bundle -o report.html`
    """
    check_outputs(page)
    from compress.files import write_text
    from compress.report.reporting import report as make
    from compress.report.views import Evidence

    evidence = Evidence.read(certificate=certificate, verification=verification, bench=bench)
    write_text(page, make(path, evidence))
    say(f"wrote {page}")
