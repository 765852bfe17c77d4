"""Penalties as they are written on the command line and in TOML: NAME or NAME:SHAPE=X,SHAPE=Y."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from functools import partial

from compress.errors import UserError
from compress.penalties.base import PENALTIES, Penalty
from compress.registry import unknown


def parse(text: str) -> partial[Penalty]:
    """The penalty called ``text``, still to be given its strength; "lp", "lp:p=2/3", "scad:edge=0.5,a=4".

    Raises:
        UserError: there is no such penalty, it has no such shape, or its value is no number.
    """
    name, _, settings = text.partition(":")
    kind = PENALTIES.get(name)
    shapes = {field.name: field.default for field in fields(kind) if field.name != "strength"}  # type: ignore[arg-type]
    for setting in filter(None, settings.split(",")):
        key, _, number = setting.partition("=")
        if not shapes:
            raise UserError(f"penalty {text}: {name} has no shape to set")
        if key not in shapes:
            raise unknown(f"shape of penalty {name}", key, list(shapes))
        try:
            shapes[key] = float(Fraction(number))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise UserError(f"penalty {text}: {key} needs a number, such as {key}={shapes[key]}") from None
    return partial(kind, **shapes)


def resolved(text: str) -> str:
    """``text`` with every shape that it leaves to its default."""
    shapes = parse(text).keywords
    return text.partition(":")[0] + ":" * bool(shapes) + ",".join(f"{key}={value}" for key, value in shapes.items())
