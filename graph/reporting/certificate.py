"""What went and why, and what stayed although it is dead: the certificate that comes with every shrunk model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graph.counts import Size
from graph.model.program import Program, label
from graph.tracing.channels import Channels, Labels
from graph.tracing.planes import Axis, Choice
from graph.tracing.trace import Site, Trace, Use, name_of
from graph.values import Values

SCHEMA = 1
REASONS = ("unread", "zero", "constant")


@dataclass(frozen=True)
class Removed:
    """Channels that went together: coupled through the same tensors, for the same reason.

    Attributes:
        reason: ``zero``, ``constant`` or ``unread``.
        channels: how many.
        tensors: constants that lost them, as ``name[axis]``.
        absorbed_into: constants that took up their value.
        indices: per entry of ``tensors``, which indices of the axis went.
    """

    reason: str
    channels: int
    tensors: list[str]
    absorbed_into: list[str]
    indices: list[list[int]]


@dataclass(frozen=True)
class KeptZero:
    """Channels whose value is known and which stay all the same."""

    reason: str
    op: str
    channels: int
    tensors: list[str]


@dataclass(frozen=True)
class Frozen:
    """An op along whose axis nothing may go, or whose weights are not finite."""

    op: str
    channels: int
    why: str


@dataclass
class Certificate:
    """Everything `shrink` did; `json` is the file's form.

    Attributes:
        check: agreement of both models, filled in by whoever runs them.
    """

    input: Size
    output: Size
    removed: list[Removed]
    kept_zero: list[KeptZero]
    frozen: list[Frozen]
    check: Mapping[str, Any] = field(default_factory=dict)

    def include(self, inner: Certificate) -> None:
        """Add what was done to a graph inside a node of this one."""
        self.removed += inner.removed
        self.kept_zero += inner.kept_zero
        self.frozen += inner.frozen

    def stamp(self, source: Path, target: Path) -> None:
        """Name the files that the certificate is about, by size and hash."""
        self.input, self.output = self.input.of(source), self.output.of(target)

    def json(self) -> str:
        """The certificate as JSON, with its schema version."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n"


def certify(
    program: Program,
    trace: Trace,
    values: Values,
    choice: Choice,
    absorbed: Mapping[int, str],
    size: Size,
) -> Certificate:
    """Write down what the analysis found and what became of it.

    Args:
        program: the model, or a graph inside one of its nodes.
        trace: its channels.
        values: what is known about them.
        choice: what went.
        absorbed: per node, the constant that took up what removed channels contributed.
        size: of the model before; that of the result is the same until it is known.
    """
    notary = _Notary(program, trace, values, choice, absorbed)
    return Certificate(size, size, list(notary.removed()), list(notary.kept()), list(notary.frozen()))


class _Notary:
    """Reads the certificate's entries off an analysis and its choice."""

    def __init__(
        self, program: Program, trace: Trace, values: Values, choice: Choice, absorbed: Mapping[int, str]
    ) -> None:
        self.program, self.trace, self.values, self.choice, self.absorbed = program, trace, values, choice, absorbed
        self.channels = Channels(trace, choice.planes, through_edges=True)

    # -- what went

    def removed(self) -> Iterator[Removed]:
        """One entry per family of coupled axes and reason."""
        constants = self.constants()
        claims = self.claims()
        for number, axes in self.channels.families.items():
            gone = np.unique(np.concatenate([self.gone(axis) for axis in axes]))
            rank = np.zeros(gone.size, np.int8)
            into: set[str] = set()
            for node, labels, claim in claims.get(number, []):
                np.maximum.at(rank, np.searchsorted(gone, labels), claim)
                into |= {self.absorbed[node]} if node in self.absorbed else set()
            for reason in np.unique(rank):
                members = gone[rank == reason]
                indices: dict[str, list[int]] = {}
                for axis in axes:
                    cut = self.choice.planes[axis].gone & np.isin(self.channels.labels[axis], members)
                    if cut.any():
                        indices |= {name: np.flatnonzero(cut).tolist() for name in constants.get(axis, [])}
                if indices:  # else it is a whole head, whose elements are listed as channels of another axis
                    taken = sorted(into) if REASONS[reason] == "constant" else []
                    yield Removed(REASONS[reason], int(members.size), list(indices), taken, list(indices.values()))

    def gone(self, axis: Axis) -> Labels:
        """The channels that an axis lost."""
        return self.channels.labels[axis][self.choice.planes[axis].gone]

    def claims(self) -> dict[int, list[tuple[int, Labels, NDArray[np.int8]]]]:
        """Per family: a node that sums, the channels that left the sum, and which of `REASONS` that took."""
        found: dict[int, list[tuple[int, Labels, NDArray[np.int8]]]] = {}
        for read in self.trace.reads:
            for site, place in (read.left, read.right):
                if site in self.trace.ids and (site, place) in self.choice.planes:
                    mask, value = self.values.along(name_of(self.program, site), place)
                    claim = np.where(mask, np.where(value == 0, 1, 2), 0).astype(np.int8)
                    cut = self.choice.planes[site, place].gone
                    family = self.channels.family[site, place]
                    found.setdefault(family, []).append((read.node, self.gone((site, place)), claim[cut]))
        return found

    def constants(self) -> dict[Axis, list[str]]:
        """The axes of constants, as ``name[axis]``, that lose what an axis loses."""
        found: dict[Axis, list[str]] = {}
        for site, place in self.choice.planes:
            if isinstance(site, tuple) and site not in self.trace.edges:
                found.setdefault((site, place), []).append(self.name(site, place))
        for use, out in self.trace.follows.items():
            shape = self.program.shapes[name_of(self.program, use)]
            for place, size in enumerate(shape):
                if size > 1:
                    along = out, place + len(self.trace.shapes[out]) - len(shape)
                    found.setdefault(along, []).append(self.name(use, place))
        return found

    def name(self, site: Site, place: int) -> str:
        """How an axis of a constant is called."""
        return f"{name_of(self.program, site)}[{place}]"

    # -- what stayed

    def kept(self) -> Iterator[KeptZero]:
        """One entry per family and cause: channels that a weight provably makes constant, and that stay."""
        channels: dict[tuple[int, int], set[int]] = {}
        tensors: dict[tuple[int, int], dict[str, None]] = {}
        for axis, maker in self.made().items():
            plane = self.choice.planes[axis]
            mask, _ = self.values.along(name_of(self.program, axis[0]), axis[1])
            dead = mask & ~plane.gone
            for why in np.unique(plane.why[dead]):
                entry = self.channels.family[axis], int(why)
                labels = self.channels.labels[axis][dead & (plane.why == why)]
                channels.setdefault(entry, set()).update(labels.tolist())
                tensors.setdefault(entry, {})[maker] = None
        for (family, why), labels in channels.items():
            cause = self.choice.causes[why]
            yield KeptZero(cause.reason, cause.op, len(labels), list(tensors[family, why]))

    def made(self) -> dict[Axis, str]:
        """Axes of activations of which anything is known and whose channels a constant makes, with that constant."""
        found: dict[Axis, str] = {}
        for link in self.trace.links:
            weight = next((axis for axis in link.axes if axis[0] not in self.trace.ids), None)
            for site, place in link.axes:
                if weight and site in self.values.known and site in self.program.nodes[link.node].output:
                    found.setdefault((site, place), self.name(*weight))
        return found

    # -- what could not go

    def frozen(self) -> Iterator[Frozen]:
        """One entry per op and reason."""
        counts: dict[tuple[str, str], int] = {}
        for freeze in self.trace.freezes:
            if freeze.node is not None and freeze.site in self.trace.ids:
                axes = range(len(self.trace.shapes[freeze.site])) if freeze.axis is None else [freeze.axis]
                planes = [self.choice.planes.get((freeze.site, axis)) for axis in axes]
                entry = freeze.by, freeze.why
                counts[entry] = counts.get(entry, 0) + sum(plane.gone.size for plane in planes if plane is not None)
        for use in not_finite(self.program, self.trace, self.values):
            entry = label(self.program.nodes[use[0]]), f"{name_of(self.program, use)} is not finite"
            counts[entry] = sum(plane.kept for (site, _), plane in self.choice.planes.items() if site == use)
        return (Frozen(op, channels, why) for (op, why), channels in counts.items() if channels)


def not_finite(program: Program, trace: Trace, values: Values) -> list[Use]:
    """Matrices with NaN or infinities: all that they read and make stays, since 0 * inf is not 0."""
    sites = dict.fromkeys(site for link in trace.links for site, _ in link.axes if site not in trace.ids)
    uses = [site for site in sites if isinstance(site, tuple) and len(trace.shapes[site]) > 1]
    return [use for use in uses if not values.finite(name_of(program, use))]
