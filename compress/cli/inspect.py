"""``compress inspect``: what could go, and what stands in the way?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compress.cli.app import DataDir, DataName, JsonPath, Quiet, check_outputs, out, say, verb, write_json
from compress.cli.prune import INPUT_HELP
from compress.cli.sessions import Provider, SessionPairs, pairs, settings
from compress.errors import UserError

if TYPE_CHECKING:
    from compress.prune.samples import Samples
    from runtime import Settings


@verb
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Any ONNX file.")],
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Measure what each family of channels means to the answers.")
    ] = False,
    criterion: Annotated[str, typer.Option(metavar="NAME", help="Which go first, as for prune.")] = "l2",
    data: DataName = None,
    data_dir: DataDir = None,
    given: Annotated[list[str] | None, typer.Option("--input", metavar="NAME=FILE", help=INPUT_HELP)] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many (training) samples are run.")] = 256,
    plot: Annotated[Path | None, typer.Option(metavar="PATH", help="Draw the sensitivity: .png or .svg.")] = None,
    provider: Provider = "cpu",
    session: SessionPairs = None,
    seed: Annotated[int, typer.Option(min=0, help="For criteria that draw, and which samples are taken.")] = 0,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Count parameters and MACs, list the channels that may go, and what holds back the others.

    Every parameter counts once, with the channel that it helps to make: what may go and what is held back add up.
    `--sensitivity` zeroes the weakest 10 to 90 % of one family of channels after the other, and runs the model.

    Example: `compress inspect model.onnx --sensitivity --data cifar10 --data-dir data --plot sensitivity.png`
    """
    if not sensitivity and any((data, data_dir, given, plot)):
        raise UserError("--data, --data-dir, --input and --plot are for --sensitivity: add that")
    check_outputs(json_path, plot, source=model)
    import graph
    from compress import tables
    from compress.prune.samples import Samples
    from graph.reporting.inventory import inventory

    found = inventory(graph.analyse(graph.load(model)))
    for each in (tables.totals(found), tables.offered(found), tables.held(found)):
        if each is not None:
            out.print(each)
    for name in found.not_finite:
        say(f"{name} has NaN or infinities: zeros that it reads or makes cannot go")
    figures = asdict(found)
    if sensitivity:
        wanted = Samples(data, data_dir, pairs("--input", given), samples)
        figures["sensitivity"] = _measure(model, wanted, criterion, settings(provider, session), seed, plot, quiet)
    write_json(json_path, figures)


def _measure(
    model: Path, samples: Samples, criterion: str, how: Settings, seed: int, plot: Path | None, quiet: bool
) -> dict[str, Any]:
    """Show the sensitivity of ``model``; its figures."""
    from compress.progress import Silent, progress
    from compress.prune.sensitivity import sensitivity as measure
    from compress.prune.sensitivity import table

    calibration = samples.read(model, how, seed)
    if calibration is None:
        raise UserError("--sensitivity runs the model: give training images with --data, or --input")
    meter = Silent() if quiet else progress()
    found = measure(model, calibration, criterion, settings=how, seed=seed, progress=meter)
    out.print(table(found))
    if plot is not None:
        from compress.report.plots import sensitivity_plot

        sensitivity_plot(found, plot)
    return asdict(found)
