"""Do two models give the same outputs?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from runtime.errors import SessionError
from runtime.parity import OutputParity, Parity, compare_arrays
from runtime.session import Array, Feeds, Session, Value


class Tally:
    """Keeps the largest differences between the outputs that were expected and those that were found.

    Attributes:
        worst: the feeds with the largest relative difference so far.
    """

    def __init__(self) -> None:
        self.worst: Feeds = {}
        self._largest = -1.0
        self._outputs: dict[str, OutputParity] = {}
        self._inputs = 0
        self._shapes: list[dict[str, tuple[int, ...]]] = []

    def add(
        self, feed: Feeds, expected: Mapping[str, Array], found: Mapping[str, Array], rows: int | None = None
    ) -> None:
        """Compare the outputs for ``feed``, of whose rows the first ``rows`` count as inputs, or all.

        Raises:
            SessionError: an output has another shape or type.
        """
        for name in expected:
            difference = compare_arrays(name, expected[name], found[name])
            if difference.max_rel > self._largest:
                self.worst, self._largest = feed, difference.max_rel
            self._outputs[name] = self._outputs[name].merge(difference) if name in self._outputs else difference
        first = next(iter(feed.values()), np.empty(()))
        self._inputs += rows or (len(first) if first.ndim > 1 else 1)
        shapes = {name: array.shape for name, array in feed.items()}
        if shapes not in self._shapes:
            self._shapes.append(shapes)

    def parity(self, provider: str) -> Parity:
        """What was found so far, on the provider that onnxruntime calls ``provider``.

        Raises:
            SessionError: nothing was compared.
        """
        if not self._inputs:
            raise SessionError("there are no inputs to compare the models on")
        return Parity(tuple(self._outputs.values()), self._inputs, provider, tuple(self._shapes))


class Differences:
    """Runs two models side by side and compares their outputs.

    Attributes:
        common: the reference, with the sizes fixed that only the candidate fixes: what to make feeds for.
        tally: of the comparisons so far.

    Raises:
        SessionError: inputs or outputs of the two have different names, or inputs different types or shapes; or an
            output is neither numbers nor text.
    """

    def __init__(self, reference: Session, candidate: Session) -> None:
        _check_names("input", reference.inputs, candidate.inputs)
        _check_names("output", reference.outputs, candidate.outputs)
        for value in reference.outputs:
            _ = value.dtype  # refuses what cannot be compared
        self.reference, self.candidate = reference, candidate
        self.common = replace(reference, inputs=_common_inputs(reference, candidate))
        self.tally = Tally()

    def run(self, feed: Feeds, rows: int | None = None) -> tuple[dict[str, Array], dict[str, Array]]:
        """The outputs of the reference and of the candidate.

        Args:
            feed: the inputs.
            rows: how many rows count as inputs, if the others only fill up a fixed batch.

        Raises:
            SessionError: a model does not run on ``feed``, or an output has another shape or type.
        """
        expected, found = self.reference.run(feed), self.candidate.run(feed)
        self.tally.add(feed, expected, found, rows)
        return expected, found

    @property
    def parity(self) -> Parity:
        """What was found so far; errors are those of `Tally.parity`."""
        return self.tally.parity(self.candidate.provider)


def compare(reference: Session, candidate: Session, feeds: Iterable[Feeds]) -> Parity:
    """Run both models on every one of ``feeds`` and keep the largest differences.

    Raises:
        SessionError: as `Differences`; an output is not a tensor of numbers or text; or there are no feeds.
    """
    differences = Differences(reference, candidate)
    for feed in feeds:
        differences.run(feed)
    return differences.parity


def _check_names(kind: str, reference: Sequence[Value], candidate: Sequence[Value]) -> None:
    expected, found = ([value.name for value in values] for values in (reference, candidate))
    if set(expected) != set(found):
        raise SessionError(
            f"the {kind}s differ: {', '.join(expected)} in the reference, {', '.join(found)} in the other "
            "model: compare two versions of one model"
        )


def _common_inputs(reference: Session, candidate: Session) -> tuple[Value, ...]:
    """The inputs of the reference, with every size fixed that one of the two fixes."""
    others = {value.name: value for value in candidate.inputs}
    common = []
    for value in reference.inputs:
        other = others[value.name]
        sizes = [
            (one, two if isinstance(two, int) else one) for one, two in zip(value.shape, other.shape, strict=False)
        ]
        clash = any(isinstance(one, int) and one != two for one, two in sizes)
        if value.type != other.type or len(value.shape) != len(other.shape) or clash:
            raise SessionError(
                f"input '{value.name}' is {value} in {reference.name} and {other} in {candidate.name}: "
                "compare two versions of one model"
            )
        common.append(replace(value, shape=tuple(size for _, size in sizes)))
    return tuple(common)
