"""Other people's functions, written ``module:callable``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

from compress.errors import UserError


def locate(reference: str) -> Callable[..., Any]:
    """The callable behind ``module:callable``; modules of the current folder count, as with ``python -m``.

    Raises:
        UserError: no such module, it fails on import, no such attribute in it, or not a callable.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise UserError(f"'{reference}' is not of the form module:callable")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = f"no module '{error.name}' in this folder or installed"
        raise UserError(f"cannot import '{module_name}' of '{reference}': {missing}") from error
    except Exception as error:
        raise UserError(f"cannot import '{module_name}' of '{reference}': {describe(error)}") from error
    try:
        found: Callable[..., Any] = attrgetter(attribute)(module)
    except AttributeError as error:
        raise UserError(f"module '{module_name}' has no '{attribute}'") from error
    if not callable(found):
        raise UserError(f"'{reference}' is not callable: it is of type {type(found).__name__}")
    return found


def call(reference: str, kinds: tuple[type, ...], wanted: str, **offered: Any) -> Any:
    """Call ``module:callable`` with those of ``offered`` that its signature names.

    Args:
        reference: ``module:callable``.
        kinds: types that its result may have.
        wanted: those types in words, for the error message.
        offered: keyword arguments.

    Raises:
        UserError: as `locate`, or the call fails, or its result is of another type.
    """
    function = locate(reference)
    try:
        named = set(inspect.signature(function).parameters)
    except ValueError:  # some built-ins have no signature to read
        named = set()
    try:
        result = function(**{name: value for name, value in offered.items() if name in named})
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"'{reference}' failed: {describe(error)}") from error
    if not isinstance(result, kinds):
        raise UserError(f"'{reference}' must return {wanted}, but its result is of type {type(result).__name__}")
    return result


def describe(error: Exception) -> str:
    """Type and message of an exception, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
