"""``compress prune``: write zeros into an ONNX file that is trained already."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from compress.cli.app import (
    DataDir,
    DataName,
    JsonPath,
    Quiet,
    check_outputs,
    fail,
    out,
    say,
    verb,
    write_json,
)
from compress.cli.sessions import Provider, SessionPairs, pairs, settings
from compress.errors import UserError
from compress.registry import unknown

NEAR = 0.03  # of the latency that was asked for
FAR = 0.01  # from any other budget, from which on it is told

CRITERION_HELP = (
    "Which channel classes matter least: random, l1, l2, geometric-median, bn-scale; with samples activation-mean, "
    "activation-variance, reconstruction, kl, output-error, surgeon; with --init taylor, fisher."
)
INPUT_HELP = "Samples of any input along the first axis, instead of --data: .npy, .npz, or a number."

INIT_HELP = "The PyTorch model of the file, for taylor and fisher: a run, a checkpoint, module:callable."


@verb
def prune(
    source: Annotated[Path, typer.Argument(metavar="IN.onnx", help="Any ONNX file.")],
    target: Annotated[Path, typer.Option("-o", "--out", metavar="ZEROED.onnx", help="Where the zeroed model goes.")],
    criterion: Annotated[str, typer.Option(metavar="NAME", help=CRITERION_HELP)] = "l2",
    keep: Annotated[float | None, typer.Option(metavar="F", help="Fraction of the channel classes to keep.")] = None,
    params: Annotated[float | None, typer.Option(metavar="F", help="Fraction of the parameters to keep.")] = None,
    macs: Annotated[float | None, typer.Option(metavar="F", help="Fraction of the MACs to keep.")] = None,
    size: Annotated[
        float | None, typer.Option("--bytes", metavar="F", help="Fraction of the file's size to keep.")
    ] = None,
    latency: Annotated[
        float | None, typer.Option(metavar="F", help="Fraction of the latency to keep, measured on this machine.")
    ] = None,
    floor: Annotated[float, typer.Option(min=0, max=1, help="Of every group of classes so much stays.")] = 0.05,
    protect: Annotated[
        list[str] | None, typer.Option(metavar="TENSOR", help="A tensor that stays whole; may be given again.")
    ] = None,
    align: Annotated[
        int | None,
        typer.Option(min=1, help="Widths that lose anything end at multiples; for --latency those that are best here."),
    ] = None,
    scope: Annotated[str, typer.Option(help="global, or local: equal shares of all groups go.")] = "global",
    per: Annotated[str, typer.Option(help="class, params, macs or latency: what a score is divided by.")] = "class",
    repair: Annotated[
        bool, typer.Option("--repair", help="Fit the weights that are left anew, on the samples; no labels needed.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Score again so many times on the way to the budget.")] = 1,
    data: DataName = None,
    data_dir: DataDir = None,
    given: Annotated[list[str] | None, typer.Option("--input", metavar="NAME=FILE", help=INPUT_HELP)] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many (training) samples are looked at.")] = 256,
    init: Annotated[str | None, typer.Option(metavar="RUN|CHECKPOINT|NAME", help=INIT_HELP)] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="What a bare checkpoint of --init holds the weights of.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Keep scores of kl and output-error for another budget.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Of the inputs for --latency; 1 where it is open.")] = None,
    provider: Provider = "cpu",
    session: SessionPairs = None,
    seed: Annotated[int, typer.Option(min=0, help="For criteria that draw, and which samples are taken.")] = 0,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Zero whole channel classes down to a budget; `shrink` then removes them, exactly.

    What is lost is up to the criterion: measure it with `compress verify ZEROED.onnx --against IN.onnx --data ...`.
    An interrupted `kl` goes on where it stopped when it is started again. What costs least is `--criterion surgeon
    --per macs --repair` with a thousand samples. A latency is predicted by a table of the model's layers, which is
    measured once, and confirmed on whole models; it may be missed by 3 %.

    Example: `compress prune model.onnx -o zeroed.onnx --criterion surgeon --per macs --repair --data cifar10
    --data-dir data --samples 1000 --macs 0.6`
    """
    named = {"keep": keep, "params": params, "macs": macs, "bytes": size, "latency": latency}
    budgets = {name: value for name, value in named.items() if value is not None}
    if len(budgets) != 1:
        raise UserError("give exactly one of --keep, --params, --macs, --bytes and --latency")
    ((budget, fraction),) = budgets.items()
    if not 0 < fraction <= 1:
        raise UserError(f"--{budget} {fraction}: give a fraction above 0 and up to 1")
    if model is not None and init is None:
        raise UserError(f"--model {model} says what --init CHECKPOINT holds: give that, too")
    check_outputs(target, json_path, scores, source=source)
    from compress import tables
    from compress.progress import Silent, progress
    from compress.prune.budgets import WHAT
    from compress.prune.pruning import Options, Per, Scope, prune_file
    from compress.prune.samples import Samples
    from compress.prune.store import scores_file

    for option, value, valid in (("--scope", scope, get_args(Scope)), ("--per", per, get_args(Per))):
        if value not in valid:
            raise unknown(f"value of {option}", value, list(valid))
    options = Options(
        floor=floor,
        protect=protect or (),
        align=align,
        scope=scope,  # type: ignore[arg-type]  # checked above, as is per
        per=per,  # type: ignore[arg-type]
        repair=repair,
        rounds=rounds,
        samples=Samples(data, data_dir, pairs("--input", given), samples),
        init=init,
        model=model,
        scores=scores,
        batch=batch,
        settings=settings(provider, session),
        seed=seed,
    )
    try:
        result = prune_file(
            source,
            target,
            criterion=criterion,
            budget=budget,  # type: ignore[arg-type]  # one of the literals above
            fraction=fraction,
            options=options,
            progress=Silent() if quiet else progress(),
        )
    except KeyboardInterrupt:
        if (path := scores_file(target, options.scores)).exists():
            say(f"scores so far are in {path}: the same command goes on from there")
        raise
    for each in (tables.zeroed(result.families), tables.sizes(result.certificate, title="after shrink")):
        if each is not None:
            out.print(each)
    for node, why in result.left.items():
        say(f"not repaired: {node}, {why}")
    say(f"{target}: {result.zeroed:,} of {result.offered:,} channel classes are zero")
    if latency is None and fraction - result.reached > FAR:
        why = "the next channel, or block of channels, is too large" if result.zeroed else "nothing had to go"
        say(f"{result.reached:.1%} of the {WHAT[budget]} are left, and {fraction:.1%} were asked for: {why}")
    figures: dict[str, Any] = {"model": str(target), "zeroed": result.zeroed, "offered": result.offered}
    figures |= {"reached": result.reached, "latency": result.latency}
    figures |= {"input": asdict(result.certificate.input), "output": asdict(result.certificate.output)}
    figures |= {"families": [asdict(each) for each in result.families], "not_repaired": dict(result.left)}
    write_json(json_path, figures)
    if result.latency is not None:
        told = f"{result.latency:.1%} of the latency is left after shrink, and {fraction:.1%} was asked for"
        if abs(result.latency / fraction - 1) > NEAR:
            raise fail(f"{target}: {told}; widths come in steps, and other work on this machine is noise: try again")
        say(told)
