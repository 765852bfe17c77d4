"""Do two models give the same outputs?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.errors import SessionError
from runtime.session import Array, Feeds, Session, Value


@dataclass(frozen=True)
class OutputParity:
    """How far one output of the candidate is from the reference's, over all inputs.

    Attributes:
        name: of the output.
        exact: it holds integers or booleans, so that nothing short of equality will do.
        elements: numbers compared.
        mismatches: of them, those that differ at all.
        max_abs: the largest absolute difference; inf where one is not finite and the other is not the same.
        largest: the largest finite absolute value of the reference.
        rows: rows whose largest column was compared; 0 unless the output is [n, classes] with classes > 1.
        argmax_equal: of them, those where it is the same column.
    """

    name: str
    exact: bool
    elements: int
    mismatches: int
    max_abs: float
    largest: float
    rows: int
    argmax_equal: int

    @property
    def max_rel(self) -> float:
        """The largest difference in units of the largest value."""
        if self.max_abs == 0:
            return 0.0
        return self.max_abs / self.largest if self.largest > 0 else math.inf

    def within(self, rtol: float, atol: float) -> bool:
        """Whether max|d| <= atol + rtol max|y|; integers and booleans must be equal."""
        if self.exact:
            return self.mismatches == 0
        return self.max_abs <= atol + rtol * self.largest

    def merge(self, other: OutputParity) -> OutputParity:
        """The same output over the inputs of both."""
        return OutputParity(
            self.name,
            self.exact,
            self.elements + other.elements,
            self.mismatches + other.mismatches,
            max(self.max_abs, other.max_abs),
            max(self.largest, other.largest),
            self.rows + other.rows,
            self.argmax_equal + other.argmax_equal,
        )


@dataclass(frozen=True)
class Parity:
    """The comparison of two models.

    Attributes:
        outputs: one entry per output.
        inputs: how many inputs were tried: rows of the first input, or feeds where it has no batch axis.
        provider: onnxruntime's name of the candidate's provider.
    """

    outputs: tuple[OutputParity, ...]
    inputs: int
    provider: str

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

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: a difference that is not finite is None."""
        return {
            "inputs": self.inputs,
            "max_abs": _finite(self.max_abs),
            "max_rel": _finite(self.max_rel),
            "provider": self.provider,
            "outputs": [
                {
                    "name": output.name,
                    "max_abs": _finite(output.max_abs),
                    "max_rel": _finite(output.max_rel),
                    "elements": output.elements,
                    "mismatches": output.mismatches,
                    "argmax_equal": output.argmax_equal,
                    "rows": output.rows,
                }
                for output in self.outputs
            ],
        }


def compare(reference: Session, candidate: Session, feeds: Iterable[Feeds]) -> Parity:
    """Run both models on every one of ``feeds`` and keep the largest differences.

    Raises:
        SessionError: inputs or outputs have different names, types or shapes; an output is not a tensor of
            numbers; there are no feeds; or a model does not run on them.
    """
    _check_names("input", reference.inputs, candidate.inputs)
    _check_names("output", reference.outputs, candidate.outputs)
    for value in reference.outputs:
        _ = value.dtype  # refuses what cannot be subtracted
    outputs: dict[str, OutputParity] = {}
    inputs = 0
    for feed in feeds:
        expected, found = reference.run(feed), candidate.run(feed)
        for name in expected:
            difference = compare_arrays(name, expected[name], found[name])
            outputs[name] = outputs[name].merge(difference) if name in outputs else difference
        first = next(iter(feed.values()), np.empty(()))
        inputs += len(first) if first.ndim > 1 else 1
    if not inputs:
        raise SessionError("there are no inputs to compare the models on")
    return Parity(tuple(outputs.values()), inputs, candidate.provider)


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
    exact = expected.dtype.kind not in "fc"
    wide = np.result_type(expected.dtype, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is settled by the mask below
        difference = np.abs(expected.astype(wide) - found.astype(wide))
    same = (expected == found) | ((expected != expected) & (found != found))
    difference = np.where(same, 0.0, np.where(np.isfinite(difference), difference, np.inf))
    size = np.abs(expected.astype(wide))
    ranked = expected.ndim == 2 and expected.shape[1] > 1 and expected.dtype.kind != "c"
    return OutputParity(
        name=name,
        exact=exact,
        elements=expected.size,
        mismatches=int(expected.size - np.count_nonzero(same)),
        max_abs=float(difference.max(initial=0.0)),
        largest=float(size.max(initial=0.0, where=np.isfinite(size))),
        rows=len(expected) if ranked else 0,
        argmax_equal=int((expected.argmax(1) == found.argmax(1)).sum()) if ranked else 0,
    )


def _check_names(kind: str, reference: Sequence[Value], candidate: Sequence[Value]) -> None:
    expected, found = ([value.name for value in values] for values in (reference, candidate))
    if set(expected) != set(found):
        raise SessionError(
            f"the {kind}s differ: {', '.join(expected)} in the reference, {', '.join(found)} in the other "
            "model: compare two versions of one model"
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
