"""``compress verify``: are two models the same?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import DataDir, DataName, JsonPath, Quiet, fail, out, verb, write_json


@verb
def verify(
    model: Annotated[Path, typer.Argument(metavar="A.onnx")],
    against: Annotated[Path, typer.Option(metavar="B.onnx", help="The model it should equal.")],
    data: DataName = None,
    data_dir: DataDir = None,
    rtol: Annotated[float, typer.Option(min=0, help="Allowed difference, in units of the largest output.")] = 1e-4,
    atol: Annotated[float, typer.Option(min=0, help="Allowed difference.")] = 1e-6,
    max_drop: Annotated[float | None, typer.Option(metavar="POINTS", help="With --data: how many points of accuracy A may lose; the outputs may then differ.")] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda or tensorrt.")] = "cpu",
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Compare the outputs of two models on random inputs and, with `--data`, on a whole test set with its accuracy.

    Example: `compress verify slim.onnx --against model.onnx --data cifar10 --data-dir data`
    """
    from compress import tables
    from compress.errors import UserError
    from compress.verifying import accuracy_figures, verify_files

    if max_drop is not None and data is None:
        raise UserError("--max-drop is about accuracy: give the test set with --data")
    result = verify_files(model, against, data=data, data_dir=data_dir, provider=provider)
    out.print(tables.parity(result.parity))
    if result.accuracy is not None:
        out.print(tables.accuracy(result.accuracy))
    write_json(json_path, {
        "model": str(model),
        "against": str(against),
        "parity": result.parity.to_dict(),
        "accuracy": result.accuracy and accuracy_figures(result.accuracy),
    })
    if max_drop is not None and result.accuracy is not None:
        if result.accuracy.drop > max_drop:
            raise fail(f"{model} is {result.accuracy.drop:.2f} points less accurate than {against}, more than {max_drop}")
    elif not result.parity.within(rtol, atol):
        raise fail(f"{model} and {against} differ by {result.parity.max_abs:.3g} (relative {result.parity.max_rel:.3g})")
    else:
        out.print("equal within tolerance")
