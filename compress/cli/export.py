"""``compress export``: from PyTorch to ONNX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from compress.cli.app import JsonPath, Quiet, check_outputs, say, verb, write_json
from compress.errors import UserError

TARGET_HELP = "A run folder or its checkpoint, any checkpoint with --model, torchvision:NAME, module:callable."


@verb
def export(
    target: Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT|MODEL", help=TARGET_HELP)],
    onnx: Annotated[Path, typer.Option("-o", "--out", metavar="MODEL.onnx", help="Where the model goes.")],
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="What a bare checkpoint holds the weights of.")
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option("--input", metavar="CxHxW", help="Shape of one input; known for runs.")
    ] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Number of classes; known for runs.")] = None,
    opset: Annotated[int, typer.Option(min=18, help="Version of the ONNX operator set.")] = 20,
    random_init: Annotated[bool, typer.Option("--random-init", help="Random weights, for trying things out.")] = False,
    json_path: JsonPath = None,
    quiet: Quiet = False,
) -> None:
    """Export to ONNX with an open batch size, and compare with PyTorch before anything is written.

    Example: `compress export runs/resnet20 -o model.onnx`
    """
    shape = _shape(input_shape)
    check_outputs(onnx, json_path)
    from compress.bridge.exporting import export_file, resolve

    found = resolve(target, model=model, shape=shape, classes=classes, random=random_init)
    result = export_file(found, onnx, opset=opset)
    kind = "real images" if found.data else "random inputs"
    say(f"{onnx}: equals PyTorch on {result.inputs} {kind}, relative difference {result.max_rel:.2g}")
    write_json(json_path, {"model": str(onnx), "parity": result.to_dict(), "real_inputs": found.data is not None})


def _shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if not match or "0" in match.groups():
        raise UserError(f"--input {text}: give channels, height and width, such as 3x224x224")
    channels, height, width = map(int, match.groups())
    return channels, height, width
