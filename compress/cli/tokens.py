"""``compress tokens``: fewer tokens from block to block of a transformer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import DataDir, DataName, JsonPath, Quiet, check_outputs, out, say, verb, write_json
from compress.cli.prune import INPUT_HELP
from compress.cli.sessions import Provider, SessionPairs, pairs, settings
from compress.errors import UserError


@verb
def tokens(
    source: Annotated[Path, typer.Argument(metavar="IN.onnx", help="Any ONNX file with attention.")],
    target: Annotated[Path, typer.Option("-o", "--out", metavar="OUT.onnx", help="The model with fewer tokens.")],
    macs: Annotated[float | None, typer.Option(metavar="F", help="Fraction of the MACs to keep.")] = None,
    error: Annotated[
        float | None, typer.Option(metavar="E", help="How far answers may move: KL, or squared error over variance.")
    ] = None,
    data: DataName = None,
    data_dir: DataDir = None,
    given: Annotated[list[str] | None, typer.Option("--input", metavar="NAME=FILE", help=INPUT_HELP)] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many (training) samples are looked at.")] = 32,
    scores: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Keep what was measured, for another budget.")
    ] = None,
    provider: Provider = "cpu",
    session: SessionPairs = None,
    seed: Annotated[int, typer.Option(min=0, help="Which samples are taken.")] = 0,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Drop tokens of a transformer from block to block (Patch Slimming), as constant Gathers in the graph.

    Without a budget only tokens go that nobody reads, such as all but that of the class behind the last attention: the
    outputs stay the same. With `--macs` or `--error` more go, those that the answers on the samples need least; the
    tokens that stay come out as if the others had been masked. What is lost is measured by `compress verify`.
    That takes a hundred or two runs on the samples; if it is interrupted, it goes on there when it is started again.

    Example: `compress tokens vit.onnx -o slim.onnx --macs 0.7 --data cifar10 --data-dir data`
    """
    limits = {"macs": macs, "error": error}
    budgets = {name: value for name, value in limits.items() if value is not None}
    if len(budgets) > 1:
        raise UserError("give --macs or --error, not both")
    budget, limit = next(iter(budgets.items()), (None, 0.0))
    if macs is not None and not 0 < macs <= 1:
        raise UserError(f"--macs {macs}: give a fraction above 0 and up to 1")
    if error is not None and error < 0:
        raise UserError(f"--error {error}: give a number from 0")
    check_outputs(target, json_path, scores, source=source)
    from compress import tables
    from compress.progress import Silent, progress
    from compress.prune.samples import Samples
    from compress.tokens.slimming import slim_tokens, table
    from graph import Certificate

    result = slim_tokens(
        source,
        target,
        budget=budget,  # type: ignore[arg-type]  # one of the literals above
        limit=limit,
        samples=Samples(data, data_dir, pairs("--input", given), samples),
        settings=settings(provider, session),
        seed=seed,
        scores=scores,
        progress=Silent() if quiet else progress(),
    )
    out.print(tables.sizes(Certificate(result.input, result.output, [], [], [])))
    out.print(table(result))
    if result.exact:
        unread = result.output.macs < result.input.macs
        say(f"{target}: exact, {'what nobody reads is gone' if unread else 'every token is read'}")
    else:
        say(
            f"{target}: lossy, {result.measure} {result.distance:.3g} on the samples; compress verify says what is lost"
        )
    write_json(json_path, {"model": str(target), **asdict(result), "parity": result.parity.to_dict()})
