"""``compress prune``: write zeros into an ONNX file that is trained already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import JsonPath, Quiet, check_outputs, out, say, verb, write_json
from compress.errors import UserError

Fraction = typer.Option(min=0, max=1)


@verb
def prune(
    source: Annotated[Path, typer.Argument(metavar="IN.onnx", help="Any ONNX file.")],
    target: Annotated[Path, typer.Option("-o", "--out", metavar="ZEROED.onnx", help="Where the zeroed model goes.")],
    criterion: Annotated[str, typer.Option(help="random, l1 or l2: which channel classes matter least.")] = "l2",
    keep: Annotated[float | None, typer.Option(metavar="F", help="Fraction of the channel classes to keep.")] = None,
    params: Annotated[float | None, typer.Option(metavar="F", help="Fraction of the parameters to keep.")] = None,
    macs: Annotated[float | None, typer.Option(metavar="F", help="Fraction of the MACs to keep.")] = None,
    floor: Annotated[float, typer.Option(min=0, max=1, help="Of every group of classes so much stays.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="For criteria that draw.")] = 0,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Zero whole channel classes down to a budget; `shrink` then removes them, exactly.

    What is lost is up to the criterion: measure it with `compress verify ZEROED.onnx --against IN.onnx --data ...`.

    Example: `compress prune model.onnx -o zeroed.onnx --criterion l2 --macs 0.5`
    """
    budgets = {name: value for name, value in (("keep", keep), ("params", params), ("macs", macs)) if value is not None}
    if len(budgets) != 1:
        raise UserError("give exactly one of --keep, --params and --macs")
    ((budget, fraction),) = budgets.items()
    if not 0 < fraction <= 1:
        raise UserError(f"--{budget} {fraction}: give a fraction above 0 and up to 1")
    check_outputs(target, json_path, source=source)
    from compress import tables
    from compress.pruning import prune_file

    result = prune_file(
        source,
        target,
        criterion=criterion,
        budget=budget,  # type: ignore[arg-type]  # one of the three literals above
        fraction=fraction,
        seed=seed,
        floor=floor,
    )
    out.print(tables.sizes(result.certificate, title="after shrink"))
    say(f"{target}: {result.zeroed:,} of {result.offered:,} channel classes are zero")
    write_json(json_path, {"model": str(target), "zeroed": result.zeroed, "offered": result.offered})
