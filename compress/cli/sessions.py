"""Options that say how a model is run and with what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compress.errors import UserError
from compress.registry import unknown

if TYPE_CHECKING:
    from runtime import Settings

SESSION_HELP = "threads, affinity, spinning, optimisation, free-dims, gpu, tf32, cudnn-search, cuda-graph or fallback."
Provider = Annotated[str, typer.Option(help="cpu, cuda, tensorrt, or another that onnxruntime has.")]
SessionPairs = Annotated[list[str] | None, typer.Option("--session", metavar="NAME=VALUE", help=SESSION_HELP)]
Dims = Annotated[list[str] | None, typer.Option("--dim", metavar="NAME=SIZE", help="Size of a dynamic axis of inputs.")]
Given = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=FILE", help="An input that is not random: .npy, .npz or a number."),
]


def settings(provider: str, options: Sequence[str] | None, **defaults: Any) -> Settings:
    """What ``--provider`` and ``--session`` say, over ``defaults``.

    Raises:
        UserError: there is no such setting, or its value is of another type.
        SessionError: a value is refused.
    """
    from runtime import Settings

    values = dict(defaults)
    for name, text in pairs("--session", options).items():
        if name not in _READERS:
            raise unknown("setting", name, list(_READERS))
        values[name.replace("-", "_")] = _READERS[name](f"--session {name}={text}", text)
    return Settings(provider=provider, **values)


def pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` as a table.

    Raises:
        UserError: something else is in it.
    """
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UserError(f"{option} {text}: give NAME=VALUE")
        found[name] = value
    return found


def sizes(option: str, texts: Sequence[str] | None) -> dict[str, int]:
    """``NAME=SIZE`` as a table; errors as of `pairs`."""
    return {name: _size(f"{option} {name}={text}", text) for name, text in pairs(option, texts).items()}


def _size(where: str, text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{where}: give a whole number from {least}")
    return int(text)


def _switch(where: str, text: str) -> bool:
    if text not in ("on", "off"):
        raise UserError(f"{where}: give on or off")
    return text == "on"


def _free_dims(where: str, text: str) -> dict[str, int]:
    parts = (part.rpartition(":") for part in text.split(","))
    found = {name: _size(where, size) for name, _, size in parts}
    if "" in found:
        raise UserError(f"{where}: give NAME:SIZE, such as batch:1")
    return found


def _text(where: str, text: str) -> str:
    return text


_READERS: dict[str, Callable[[str, str], Any]] = {
    "threads": _size,
    "affinity": _text,
    "spinning": _switch,
    "optimisation": _text,
    "free-dims": _free_dims,
    "gpu": partial(_size, least=0),
    "tf32": _switch,
    "cudnn-search": _text,
    "cuda-graph": _switch,
    "fallback": _switch,
}
