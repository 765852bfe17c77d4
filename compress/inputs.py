"""Inputs of a model that a person gives, as numbers or files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from compress.errors import UserError
from runtime import Session
from runtime.npz import read_npy, read_npz
from runtime.session import Array

LIMIT = 2**31  # bytes that a file may unpack to


def read_inputs(session: Session, given: Mapping[str, str]) -> dict[str, Array]:
    """Inputs by name, each from a number, an .npy file, or the array of that name (or the only one) in an .npz.

    Names, types and shapes are checked by who feeds them.

    Raises:
        SessionError: a file is damaged.
        UserError: a file cannot be read, or has no array of this name; a number is out of range.
    """
    types = {value.name: value.dtype for value in session.inputs}
    return {name: _read(name, text, types.get(name, np.dtype(np.float32))) for name, text in given.items()}


def _read(name: str, text: str, dtype: np.dtype) -> Array:
    try:
        return np.array(float(text) if dtype.kind in "fc" else int(text), dtype)
    except OverflowError as error:
        raise UserError(f"--input {name}={text}: out of the range of {dtype}") from error
    except ValueError:
        return _read_file(name, Path(text), dtype)


def _read_file(name: str, path: Path, dtype: np.dtype) -> Array:
    try:
        content = path.read_bytes()
    except OSError as error:
        wanted = f"give a number of {dtype}, an .npy or an .npz file"
        raise UserError(f"--input {name}={path}: {error.strerror}; {wanted}") from error
    if path.suffix != ".npz":
        return read_npy(content, str(path))
    arrays = read_npz(content, str(path), LIMIT)
    if name not in arrays and len(arrays) != 1:
        raise UserError(f"{path} has no array '{name}'; it has: {', '.join(arrays) or 'none'}")
    return arrays[name] if name in arrays else next(iter(arrays.values()))
