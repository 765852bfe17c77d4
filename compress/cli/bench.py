"""``compress bench``: how fast is a model, and is it faster than another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import JsonPath, Quiet, check_outputs, fail, out, say, verb, write_json
from compress.errors import UserError


@verb
def bench(
    model: Annotated[Path, typer.Argument(metavar="A.onnx")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="B.onnx", help="Time both in turns; the speedup is B's time over A's."),
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda or tensorrt; several with commas.")] = "cpu",
    batch: Annotated[str | None, typer.Option(help="Batch sizes, with commas; 1 if the model leaves it open.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads within an operator.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Measure at least so long, and at most ten times as long.")
    ] = 3.0,
    min_speedup: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Status 1 unless the speedup's whole interval is at least X."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw the distributions.")] = None,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Measure latency: one model, or two in turns and in random order with an interval for the speedup.

    Example: `compress bench slim.onnx --against model.onnx --batch 1,8`
    """
    if min_speedup is not None and against is None:
        raise UserError("--min-speedup compares two models: name the other with --against")
    check_outputs(json_path, plot)
    from compress import tables
    from compress.benching import bench_grid, numbers
    from compress.progress import Silent, progress

    results = bench_grid(
        model,
        against,
        providers=provider.split(","),
        batches=numbers("--batch", batch),
        threads=threads,
        seconds=seconds,
        progress=Silent() if quiet else progress(),
    )
    out.print(tables.latency(results))
    speedups = [result.comparison.ratio.low for result in results if result.comparison is not None]
    for result in results:
        if result.comparison is not None:
            say(tables.verdict(result))
    write_json(json_path, {"results": [result.to_dict() for result in results]})
    if plot is not None:
        from compress.plots import latency_plot

        latency_plot(results, plot)
    if min_speedup is not None and min(speedups) < min_speedup:
        raise fail(f"the speedup may be as low as {min(speedups):.3f}, less than the {min_speedup:g} asked for")
