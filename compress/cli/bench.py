"""``compress bench``: how fast is a model, and is it faster than another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compress.cli.app import (
    DataDir,
    DataName,
    JsonPath,
    Quiet,
    check_outputs,
    fail,
    verb,
    write_json,
)
from compress.cli.sessions import Dims, Given, SessionPairs, pairs, settings, sizes
from compress.errors import UserError
from compress.registry import unknown

LATENCY, THROUGHPUT, COLD_START = MODES = ("latency", "throughput", "cold-start")


@verb
def bench(
    model: Annotated[Path, typer.Argument(metavar="A.onnx")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="B.onnx", help="Time both in turns; the speedup is B's time over A's."),
    ] = None,
    mode: Annotated[str, typer.Option(help="latency, throughput of several --streams, or cold-start.")] = LATENCY,
    provider: Annotated[str, typer.Option(help="cpu, cuda or tensorrt; several with commas.")] = "cpu",
    batch: Annotated[str | None, typer.Option(help="Batch sizes, with commas; 1 if the model leaves it open.")] = None,
    streams: Annotated[str | None, typer.Option(help="Inferences at a time for throughput, with commas; 1.")] = None,
    transfers: Annotated[
        bool, typer.Option("--transfers", help="Latency from and to the memory of the host, not of the device.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads within an operator.")] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Measure at least so long, and at most ten times as long.")
    ] = 3.0,
    memory: Annotated[bool, typer.Option("--memory", help="Memory of each model, in a process of its own.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Time per operator, against this machine's peak.")] = False,
    widths: Annotated[
        bool, typer.Option("--widths", help="Which channel counts pay for this model's layers; nothing else.")
    ] = False,
    min_speedup: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Status 1 unless the speedup's whole interval is at least X."),
    ] = None,
    data: DataName = None,
    data_dir: DataDir = None,
    max_drop: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Status 1 if A loses more accuracy on --data.")
    ] = None,
    dim: Dims = None,
    given: Given = None,
    session: SessionPairs = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG|SVG", help="Draw distributions, or layers with --profile.")
    ] = None,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Measure speed: of one model, or of two in turns and in random order with an interval for the speedup.

    Example: `compress bench slim.onnx --against model.onnx --batch 1,8 --profile`
    """
    if mode not in MODES:
        raise unknown("mode", mode, list(MODES))
    if widths and any((against, mode != LATENCY, memory, profile, plot, min_speedup, max_drop, transfers)):
        raise UserError("--widths measures the layers of one model: ask for nothing else with it")
    if transfers and mode != LATENCY:
        raise UserError("--transfers is about latency: leave --mode out")
    if plot is not None and mode != LATENCY and not profile:
        raise UserError("--plot draws latencies, or layers with --profile: leave --mode out, or add that")
    if against is None and (min_speedup is not None or max_drop is not None):
        option = "--max-drop" if min_speedup is None else "--min-speedup"
        raise UserError(f"{option} compares two models: name the other with --against")
    if (max_drop is None) != (data is None):
        raise UserError("--max-drop and --data belong together: points of accuracy, and the test set they are lost on")
    if streams is not None and mode != THROUGHPUT:
        raise UserError("--streams are inferences at a time: give --mode throughput, too")
    check_outputs(json_path, plot)
    from compress.bench.grid import Subject, numbers
    from compress.cli import bench_parts as parts
    from compress.progress import Silent, progress

    how = [settings(name.strip(), session, threads=threads) for name in provider.split(",")]
    subject = Subject(model, against, numbers("--batch", batch), sizes("--dim", dim), pairs("--input", given))
    meter = Silent() if quiet else progress()
    found: dict[str, Any] = {}
    if widths:
        parts.widths(found, subject, how[0], meter)
        write_json(json_path, found)
        return
    if max_drop is not None:
        parts.accuracy(found, subject, how[0], data, data_dir)
    if mode == COLD_START:
        comparisons = parts.cold_start(found, subject, how, seconds, meter)
    else:
        counts = numbers("--streams", streams or ("1" if mode == THROUGHPUT else None))
        comparisons = parts.speed(found, subject, how, counts, transfers, seconds, meter, None if profile else plot)
    if memory:
        parts.memory(found, subject, how)
    if profile:
        parts.profile(found, subject, how, plot)
    write_json(json_path, found)
    low = min((each.ratio.low for each in comparisons), default=None)
    if min_speedup is not None and low is not None and low < min_speedup:
        raise fail(f"the speedup may be as low as {low:.3f}, less than the {min_speedup:g} asked for")
    if max_drop is not None and found["accuracy"]["drop"] > max_drop:
        raise fail(f"{model} loses {found['accuracy']['drop']:.2f} points of accuracy, more than {max_drop:g}")
