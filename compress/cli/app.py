"""The application, and what all verbs share: errors on one line, exit statuses, JSON beside tables."""

from __future__ import annotations

import errno
import functools
import json
import math
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from compress import __version__
from compress.errors import NotEqual, UserError
from compress.files import check_writable, write_text

F = TypeVar("F", bound=Callable[..., Any])

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
PACKAGES = ("compress", "graph", "runtime")  # our own
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "tomli_w": "tomli-w"}  # where pip has another name

app = typer.Typer(
    name="compress",
    help="Train channels to exact zero, remove them from any ONNX file, prove that nothing changed, "
    "measure what it gained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False, markup=False, emoji=False)  # names of tensors and files are printed as they are

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
JsonPath = Annotated[Path | None, typer.Option("--json", metavar="PATH", help="Write what is printed as JSON, too.")]
DATA_HELP = "digits, cifar10, cifar100, fashion-mnist, imagefolder, drive, segmentation-folder or module:callable."
DataName = Annotated[str | None, typer.Option("--data", metavar="NAME", help=DATA_HELP)]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Folder of the data set.")]


def main() -> None:
    """Entry point of the console script."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def verb(function: F) -> F:
    """Register a command whose failures are one line on stderr.

    Status 1 for a model that is not what it should be, 2 for what the user can mend, 130 for Ctrl-C.
    """

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        out.quiet = kwargs.get("quiet", False)
        try:
            _check_finite(kwargs)
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            raise _leave("interrupted", INTERRUPTED) from None
        except NotEqual as difference:
            raise fail(str(difference)) from None
        except Exception as error:
            message = _for_the_user(error)
            if message is None:
                raise
            raise _leave(message, BAD_INPUT) from None

    app.command(name=function.__name__)(guarded)
    return function


def fail(message: str) -> typer.Exit:
    """Status 1: it ran, but a check or a declared goal failed."""
    return _leave(message, FAILED)


def say(line: str) -> None:
    """Print a line that the console must not break, since it may hold a path."""
    out.print(line, soft_wrap=True)


def check_outputs(*written: Path | None, source: Path | None = None) -> None:
    """Refuse what would fail, or do damage, after long work.

    Args:
        written: files to be written; None for those that were not asked for.
        source: a file to be read.

    Raises:
        ModelError: ``source`` cannot be read.
        UserError: one cannot be written, holds weights of ``source``, or two are the same.
    """
    outputs = [path for path in written if path is not None]
    for path in outputs:
        check_writable(path)
    for first, second in combinations([*outputs, *([source] if source else [])], 2):
        if first.resolve() == second.resolve():
            raise UserError(f"{first} is named for two files: give them different names")
    if source is not None and any(path.exists() for path in outputs):
        from graph.files.io import files

        weights = [path.resolve() for path in files(source)[1:]]
        for path in outputs:
            if path.resolve() in weights:
                raise UserError(f"{path} holds the weights of {source}: give another name")


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write ``content`` with its schema version, if a path was given."""
    if path is not None:
        write_text(path, json.dumps({"schema": 1, **content}, indent=2, allow_nan=False) + "\n")


def _leave(message: str, status: int) -> typer.Exit:
    typer.echo(f"compress: {' '.join(message.split())}", err=True)
    return typer.Exit(status)


def _check_finite(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name.replace('_', '-')} {value}: give a finite number")


def _for_the_user(error: Exception) -> str | None:
    """What to tell about an error that is no bug; None for a bug.

    The error classes of other packages are looked up where they were imported; others were never raised.
    """
    known = {"compress.errors": "UserError", "graph.errors": "ModelError", "runtime.errors": "SessionError"}
    if isinstance(error, _imported(known)):
        return str(error)
    if isinstance(error, (MemoryError, *_imported({"torch": "OutOfMemoryError"}))):
        return f"out of memory: {str(error).partition('.')[0] or 'try a smaller batch or model'}"
    if isinstance(error, ModuleNotFoundError) and (name := str(error.name).partition(".")[0]) not in PACKAGES:
        return f"this needs {name}, which is not installed here: pip install {DISTRIBUTIONS.get(name, name)}"
    if isinstance(error, OSError) and error.errno != errno.EPIPE:  # a closed pipe is typer's business
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    return None


def _imported(names: dict[str, str]) -> tuple[type[Exception], ...]:
    return tuple(getattr(sys.modules[module], name) for module, name in names.items() if module in sys.modules)
