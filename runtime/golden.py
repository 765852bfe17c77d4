"""Recorded inputs and outputs: what a model must give wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from runtime.errors import SessionError
from runtime.npz import read_npz
from runtime.session import Array

Case: TypeAlias = tuple[dict[str, Array], dict[str, Array]]  # inputs and outputs, by name


def write_golden(path: Path, cases: Sequence[Case]) -> None:
    """Write ``cases`` as ``inputs/0/NAME`` and ``outputs/0/NAME``, 1, ..., uncompressed; equal cases, equal bytes."""
    arrays = {
        f"{side}/{number}/{name}": array
        for number, case in enumerate(cases)
        for side, values in zip(("inputs", "outputs"), case, strict=True)
        for name, array in values.items()
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its other argument is no array


def read_golden(path: Path) -> list[Case]:
    """The cases of a golden file.

    Raises:
        SessionError: it is damaged, compressed, holds Python objects, or no cases.
    """
    data = path.read_bytes()
    cases: dict[str, Case] = {}
    for key, array in read_npz(data, str(path), limit=len(data)).items():  # what is not compressed fits in its file
        side, _, rest = key.partition("/")
        number, _, name = rest.partition("/")
        if side not in ("inputs", "outputs"):
            raise SessionError(f"{path} holds '{key}', which is neither an input nor an output of a case")
        cases.setdefault(number, ({}, {}))[side == "outputs"][name] = array
    if not cases:
        raise SessionError(f"{path} holds no cases: package the model again")
    return list(cases.values())
