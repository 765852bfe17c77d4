"""The application, and what all verbs share: errors on one line, exit statuses, JSON beside tables."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from compress import __version__
from compress.errors import UserError
from compress.files import write_text

F = TypeVar("F", bound=Callable[..., Any])

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="compress",
    help="Train channels to exact zero, remove them from any ONNX file, prove that nothing changed, measure what it gained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False, soft_wrap=False)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
JsonPath = Annotated[Path | None, typer.Option("--json", metavar="PATH", help="Write what is printed as JSON, too.")]
DataName = Annotated[str | None, typer.Option("--data", metavar="NAME", help="digits, cifar10, cifar100, fashion-mnist, imagefolder or module:callable.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Folder of the data set.")]


def main() -> None:
    """Entry point of the console script."""
    app()


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def verb(function: F) -> F:
    """Register a command whose failures are one line on stderr: status 2 for what the user can mend, 130 for Ctrl-C."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        out.quiet = kwargs.get("quiet", False)
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("compress: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if not _is_for_the_user(error):
                raise
            typer.echo(f"compress: {error}", err=True)
            raise typer.Exit(BAD_INPUT) from None

    app.command(name=function.__name__)(guarded)
    return function


def fail(message: str) -> typer.Exit:
    """Status 1: it ran, but a check or a declared goal failed."""
    typer.echo(f"compress: {message}", err=True)
    return typer.Exit(FAILED)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write ``content`` with its schema version, if a path was given."""
    if path is not None:
        write_text(path, json.dumps({"schema": 1, **content}, indent=2) + "\n")


def _is_for_the_user(error: Exception) -> bool:
    """The error classes of the three packages; one that was never imported was never raised."""
    kinds: list[Any] = [UserError]
    for module, name in (("graph.errors", "ModelError"), ("runtime.errors", "SessionError")):
        if module in sys.modules:
            kinds.append(getattr(sys.modules[module], name))
    return isinstance(error, tuple(kinds))
