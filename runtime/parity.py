"""How far are two versions of the same outputs apart?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from runtime.errors import SessionError
from runtime.session import Array


@dataclass(frozen=True, order=True)
class Tolerance:
    """How far two forms of one output may be apart: max|d| <= atol + rtol max|y|, both maxima over all inputs."""

    rtol: float
    atol: float


@dataclass(frozen=True)
class OutputParity:
    """How far one output of the candidate is from the reference's, over all inputs.

    Attributes:
        name: of the output.
        exact: it holds integers, booleans or text, so that nothing short of equality will do.
        elements: numbers compared.
        mismatches: of them, those that differ at all.
        max_abs: the largest absolute difference; inf where one is not finite and the other is not the same.
        sum_abs: of all absolute differences.
        largest: the largest finite absolute value of the reference.
        sum_reference: of the finite absolute values of the reference.
        dot: the sum of the products of both, where both are finite.
        squares: the same of the reference's and of the candidate's squares.
        rows: rows whose largest column was compared; 0 unless the output is [n, classes] with classes > 1.
        argmax_equal: of them, those where it is the same column.
    """

    name: str
    exact: bool
    elements: int
    mismatches: int
    max_abs: float = 0.0
    sum_abs: float = 0.0
    largest: float = 0.0
    sum_reference: float = 0.0
    dot: float = 0.0
    squares: tuple[float, float] = (0.0, 0.0)
    rows: int = 0
    argmax_equal: int = 0

    @property
    def max_rel(self) -> float:
        """The largest difference in units of the largest value."""
        return _ratio(self.max_abs, self.largest)

    @property
    def mean_abs(self) -> float:
        """The mean absolute difference."""
        return self.sum_abs / self.elements if self.elements else 0.0

    @property
    def mean_rel(self) -> float:
        """The mean difference in units of the mean absolute value."""
        return _ratio(self.sum_abs, self.sum_reference)

    @property
    def cosine(self) -> float:
        """Of the angle between both, as vectors over all inputs; 1 where they are equal, nan where one is zero."""
        if self.mismatches == 0:
            return 1.0
        length = math.sqrt(self.squares[0]) * math.sqrt(self.squares[1])
        return min(1.0, self.dot / length) if length > 0 else math.nan

    @property
    def difference(self) -> str:
        """How far it is off, in words."""
        if self.exact:
            return f"{self.mismatches:,} of {self.elements:,} elements"
        return f"{self.max_abs:.3g} (relative {self.max_rel:.3g})"

    def within(self, rtol: float, atol: float) -> bool:
        """Whether max|d| <= atol + rtol max|y|; what is exact must be equal."""
        if self.exact:
            return self.mismatches == 0
        return self.max_abs <= atol + rtol * self.largest

    def merge(self, other: OutputParity) -> OutputParity:
        """The same output over the inputs of both."""
        merged: dict[str, Any] = {"name": self.name, "exact": self.exact}
        for name in (field.name for field in fields(self) if field.name not in merged):
            one, two = getattr(self, name), getattr(other, name)
            if name == "squares":
                merged[name] = one[0] + two[0], one[1] + two[1]
            else:
                merged[name] = max(one, two) if name in ("max_abs", "largest") else one + two
        return OutputParity(**merged)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: a difference that is not finite is None."""
        measures = ("max_abs", "max_rel", "mean_abs", "mean_rel", "cosine")
        return {
            "name": self.name,
            **{measure: _finite(getattr(self, measure)) for measure in measures},
            "elements": self.elements,
            "mismatches": self.mismatches,
            "argmax_equal": self.argmax_equal,
            "rows": self.rows,
        }


@dataclass(frozen=True)
class Parity:
    """The comparison of two models.

    Attributes:
        outputs: one entry per output.
        inputs: how many inputs were tried: rows of the first input, or feeds where it has no batch axis.
        provider: onnxruntime's name of the candidate's provider.
        shapes: of the inputs, per input by name, in the order they first came.
    """

    outputs: tuple[OutputParity, ...]
    inputs: int
    provider: str
    shapes: tuple[Mapping[str, tuple[int, ...]], ...] = ()

    @property
    def max_abs(self) -> float:
        """The largest absolute difference of any output."""
        return max(output.max_abs for output in self.outputs)

    @property
    def max_rel(self) -> float:
        """The largest difference of any output, each in units of its own largest value."""
        return max(output.max_rel for output in self.outputs)

    def within(self, rtol: float, atol: float) -> bool:
        """Whether for every output max|d| <= atol + rtol max|y|, both maxima over all inputs."""
        return all(output.within(rtol, atol) for output in self.outputs)

    def beyond(self, tolerance: Tolerance, special: Mapping[str, Tolerance] | None = None) -> tuple[OutputParity, ...]:
        """The outputs that differ by more than ``tolerance``, or by more than what ``special`` says of them."""
        allowed = {each.name: (special or {}).get(each.name, tolerance) for each in self.outputs}
        return tuple(each for each in self.outputs if not each.within(allowed[each.name].rtol, allowed[each.name].atol))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: a difference that is not finite is None."""
        return {
            "inputs": self.inputs,
            "shapes": [{name: list(shape) for name, shape in each.items()} for each in self.shapes],
            "max_abs": _finite(self.max_abs),
            "max_rel": _finite(self.max_rel),
            "provider": self.provider,
            "outputs": [output.to_dict() for output in self.outputs],
        }


def compare_arrays(name: str, expected: Array, found: Array) -> OutputParity:
    """Compare two values of the output ``name``; equal infinities are equal, and NaNs in the same places.

    Raises:
        SessionError: the shapes differ, or one holds floats and the other does not.
    """
    if expected.shape != found.shape or expected.dtype.kind != found.dtype.kind:
        raise SessionError(
            f"output '{name}' is {expected.dtype}{list(expected.shape)} in the reference "
            f"and {found.dtype}{list(found.shape)} in the other model: they cannot be compared"
        )
    same = (expected == found) | ((expected != expected) & (found != found))
    mismatches = int(expected.size - np.count_nonzero(same))
    if expected.dtype.kind == "U":
        return OutputParity(name, True, expected.size, mismatches)  # text has no distance
    wide = np.result_type(expected.dtype, np.float64)
    reference, candidate = expected.astype(wide), found.astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is settled by the mask below
        difference = np.abs(reference - candidate)
        difference = np.where(same, 0.0, np.where(np.isfinite(difference), difference, np.inf))
        size = np.abs(np.where(np.isfinite(reference), reference, 0))
        finite = np.isfinite(reference) & np.isfinite(candidate)
        reference, candidate = (np.where(finite, each, 0).ravel() for each in (reference, candidate))
        ranked = expected.ndim == 2 and expected.shape[1] > 1 and expected.dtype.kind != "c"
        return OutputParity(
            name=name,
            exact=expected.dtype.kind not in "fc",
            elements=expected.size,
            mismatches=mismatches,
            max_abs=float(difference.max(initial=0.0)),
            sum_abs=float(difference.sum()),
            largest=float(size.max(initial=0.0)),
            sum_reference=float(size.sum()),
            dot=float(np.vdot(reference, candidate).real),
            squares=(float(np.vdot(reference, reference).real), float(np.vdot(candidate, candidate).real)),
            rows=len(expected) if ranked else 0,
            argmax_equal=int((expected.argmax(1) == found.argmax(1)).sum()) if ranked else 0,
        )


def _ratio(difference: float, size: float) -> float:
    if difference == 0:
        return 0.0
    return difference / size if size > 0 else math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
