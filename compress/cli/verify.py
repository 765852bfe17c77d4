"""``compress verify``: are two models the same?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from compress.errors import UserError


@verb
def verify(
    model: Annotated[Path, typer.Argument(metavar="A.onnx")],
    against: Annotated[Path, typer.Option(metavar="B.onnx", help="The model it should equal.")],
    data: DataName = None,
    data_dir: DataDir = None,
    rtol: Annotated[
        float | None,
        typer.Option(min=0, help="Allowed difference over the largest output; 1e-4, or 1e-2 for float16."),
    ] = None,
    atol: Annotated[float | None, typer.Option(min=0, help="Allowed difference; 1e-6, or 1e-3 for float16.")] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Points of accuracy that A may lose; outputs may then differ."),
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda or tensorrt.")] = "cpu",
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Compare the outputs of two models on random inputs, and their accuracy on a test set with `--data`.

    Example: `compress verify slim.onnx --against model.onnx --data cifar10 --data-dir data`
    """
    if max_drop is not None and data is None:
        raise UserError("--max-drop is about accuracy: give the test set with --data")
    check_outputs(json_path)
    from compress import tables
    from compress.verifying import accuracy_figures, verify_files

    result = verify_files(model, against, data=data, data_dir=data_dir, provider=provider)
    out.print(tables.parity(result.parity))
    if result.accuracy is not None:
        out.print(tables.accuracy(result.accuracy))
    equal = result.parity.within(
        result.noise.rtol if rtol is None else rtol, result.noise.atol if atol is None else atol
    )
    figures = {
        "model": str(model),
        "against": str(against),
        "equal": equal,
        "parity": result.parity.to_dict(),
        "accuracy": result.accuracy and accuracy_figures(result.accuracy),
    }
    write_json(json_path, figures)
    if max_drop is not None and result.accuracy is not None:
        if result.accuracy.drop > max_drop:
            lost = f"{model} loses {result.accuracy.drop:.2f} points of accuracy against {against}"
            raise fail(f"{lost}, more than {max_drop:g}")
        say(f"the accuracy of {model} is within {max_drop:g} points of {against}")
    elif equal:
        say(f"{model} and {against} are equal within tolerance")
    else:
        difference = f"{result.parity.max_abs:.3g} (relative {result.parity.max_rel:.3g})"
        raise fail(f"{model} and {against} differ by {difference}, more than the tolerance")
