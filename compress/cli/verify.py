"""``compress verify``: are two models the same, and is a bundle what it says?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from compress.cli.sessions import Dims, Given, Provider, SessionPairs, pairs, settings, sizes
from compress.errors import UserError

if TYPE_CHECKING:
    from runtime import Settings


@verb
def verify(
    model: Annotated[Path, typer.Argument(metavar="A.onnx|BUNDLE", help="A model, or a folder of `compress package`.")],
    against: Annotated[
        Path | None, typer.Option(metavar="B.onnx", help="The model it should equal; not for a bundle.")
    ] = None,
    data: DataName = None,
    data_dir: DataDir = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="classification, segmentation or module:callable; else what the data is for."
        ),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(min=0, help="Allowed difference over the largest output; 1e-4, or 1e-2 for float16."),
    ] = None,
    atol: Annotated[float | None, typer.Option(min=0, help="Allowed difference; 1e-6, or 1e-3 for float16.")] = None,
    tolerance: Annotated[
        list[str] | None, typer.Option(metavar="OUTPUT=RTOL,ATOL", help="The same for one output.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Points of accuracy that A may lose; outputs may then differ."),
    ] = None,
    bisect: Annotated[bool, typer.Option("--bisect", help="Name the first tensor inside that differs.")] = False,
    certificate: Annotated[
        Path | None, typer.Option(metavar="CERT.json", help="Of `compress shrink` B to A: what --bisect may compare.")
    ] = None,
    dim: Dims = None,
    given: Given = None,
    provider: Provider = "cpu",
    session: SessionPairs = None,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Compare two models on random inputs of several seeds and shapes, and on a test set with `--data`.

    A bundle is checked by itself: that its files are what its manifest says, and that the model gives the outputs
    that were recorded with it.

    Example: `compress verify slim.onnx --against model.onnx --data cifar10 --data-dir data`
    """
    if against is None:
        if not model.exists():
            raise UserError(f"{model}: no such file or folder")
        if not model.is_dir():
            raise UserError(f"name the model that {model} should equal with --against, or give the folder of a bundle")
        if any((data, rtol, atol, tolerance, max_drop, bisect, certificate, dim, given)):
            raise UserError(f"{model} is checked by what is in it: only two models, with --against, can be compared")
    if max_drop is not None and data is None:
        raise UserError("--max-drop is about accuracy: give the test set with --data")
    if certificate is not None and not bisect:
        raise UserError("--certificate says what --bisect may compare: give that, too")
    check_outputs(json_path)
    how = settings(provider, session, tf32=False)
    if against is None:
        _check_bundle(model, how, json_path)
        return
    from compress import tables
    from compress.verify.bisecting import bisect as find_first
    from compress.verify.verifying import accuracy_figures, tolerances, verify_files
    from runtime.bundle import file_entry
    from runtime.providers import placement

    result = verify_files(
        model,
        against,
        data=data,
        data_dir=data_dir,
        judge=task,
        dims=sizes("--dim", dim),
        given=pairs("--input", given),
        settings=how,
    )
    allowed, special = tolerances(result, rtol, atol, pairs("--tolerance", tolerance))
    beyond = result.parity.beyond(allowed, special)
    out.print(tables.parity(result.parity))
    if provider != "cpu":
        say(f"{model} ran {placement(result.sessions['candidate']['nodes'])}")
    if result.accuracy is not None:
        out.print(*tables.accuracy(result.accuracy))
    found = None
    if bisect and beyond:
        found = find_first(model, against, result.worst, allowed, settings=how, certificate=certificate)
        say(str(found))
    figures = {
        "model": str(model),
        "against": str(against),
        "equal": not beyond,
        "tolerances": {**asdict(allowed), "outputs": {name: asdict(each) for name, each in special.items()}},
        "files": {"model": file_entry(model), "against": file_entry(against)},
        "parity": result.parity.to_dict(),
        "accuracy": result.accuracy and accuracy_figures(result.accuracy),
        "bisection": found and found.to_dict(),
        "sessions": result.sessions,
    }
    write_json(json_path, figures)
    if max_drop is not None and result.accuracy is not None:
        lost = f"{model} loses {result.accuracy.drop:.2f} points of accuracy against {against}"
        if result.accuracy.drop > max_drop:
            raise fail(f"{lost}, more than {max_drop:g}")
        say(f"{lost}, no more than {max_drop:g}")
    elif beyond:
        worst = max(beyond, key=lambda output: output.max_rel)
        raise fail(f"{model} and {against} differ by {worst.difference}, more than the tolerance")
    else:
        say(f"{model} and {against} are equal within tolerance")


def _check_bundle(folder: Path, how: Settings, json_path: Path | None) -> None:
    from runtime.check import check

    checked = check(folder, how)
    *outputs, verdict = checked.lines()
    for line in outputs:
        say(line)
    write_json(json_path, checked.to_dict())
    if checked.beyond:
        raise fail(verdict)
    say(verdict)
