"""What went and why, and what stayed although it is dead: the certificate that comes with every shrunk model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graph.channels import Channels
from graph.counts import Size
from graph.planes import Axis, Choice
from graph.program import Program, key, label
from graph.reads import name_of
from graph.trace import Trace
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
    """An op along whose axis nothing may go."""

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
    sizes: tuple[Size, Size],
) -> Certificate:
    """Write down what the analysis found and what became of it."""
    channels = Channels(trace, choice.planes, through_edges=True)
    removed: list[Removed] = []
    kept: list[KeptZero] = []
    tensors = _tensors(program, trace, choice)
    for axes in channels.families.values():
        removed += _removed(program, trace, values, choice, absorbed, channels, axes, tensors)
        kept += _kept(program, trace, values, choice, channels, axes)
    return Certificate(*sizes, removed, kept, _frozen(program, trace, choice))


def _removed(
    program: Program,
    trace: Trace,
    values: Values,
    choice: Choice,
    absorbed: Mapping[int, str],
    channels: Channels,
    axes: list[Axis],
    tensors: Mapping[Axis, list[str]],
) -> list[Removed]:
    gone = np.unique(np.concatenate([channels.labels[axis][choice.planes[axis].gone] for axis in axes]))
    if not gone.size:
        return []
    rank = np.zeros(gone.size, np.int8)  # index into REASONS: the strongest claim that any reader needs
    readers: dict[int, set[str]] = {}
    for read in trace.reads:
        for axis in (read.left, read.right):
            if axis not in axes or axis[0] not in trace.ids:
                continue
            mask, value = values.along(name_of(program, axis[0]), axis[1])
            at = np.searchsorted(gone, channels.labels[axis][choice.planes[axis].gone])
            np.maximum.at(
                rank,
                at,
                np.where(mask, np.where(value == 0, 1, 2), 0)[choice.planes[axis].gone].astype(np.int8),
            )
            if read.node in absorbed:
                readers.setdefault(2, set()).add(absorbed[read.node])
    result = []
    for reason in np.unique(rank):
        members = gone[rank == reason]
        indices: dict[str, list[int]] = {}
        for plane in axes:
            cut = choice.planes[plane].gone & np.isin(channels.labels[plane], members)
            for name in tensors.get(plane, []) if cut.any() else []:
                indices[name] = np.flatnonzero(cut).tolist()
        into = sorted(readers.get(int(reason), set()))
        if indices:  # else it is a whole head, whose elements are listed as channels of another axis
            result.append(Removed(REASONS[reason], int(members.size), list(indices), into, list(indices.values())))
    return result


def _tensors(program: Program, trace: Trace, choice: Choice) -> dict[Axis, list[str]]:
    """The axes of constants, as ``name[axis]``, that lose what a plane loses."""
    found: dict[Axis, list[str]] = {}
    for site, place in choice.planes:
        if isinstance(site, tuple) and site not in trace.edges:
            found.setdefault((site, place), []).append(f"{name_of(program, site)}[{place}]")
    for use, out in trace.follows.items():
        shape = program.shapes[name_of(program, use)]
        for place, size in enumerate(shape):
            if size > 1:
                along = out, place + len(trace.shapes[out]) - len(shape)
                found.setdefault(along, []).append(f"{name_of(program, use)}[{place}]")
    return found


def _kept(
    program: Program, trace: Trace, values: Values, choice: Choice, channels: Channels, axes: list[Axis]
) -> list[KeptZero]:
    """Channels that a contraction or normalisation provably makes constant, and that stay."""
    causes: dict[int, set[int]] = {}
    tensors: dict[int, list[str]] = {}
    makers = {name: node for node in program.nodes for name in node.output if key(node) in MAKERS}
    for site, axis in axes:
        if not isinstance(site, str) or site not in makers or site not in values.known:
            continue
        plane = choice.planes[site, axis]
        mask, _ = values.along(site, axis)
        dead = mask & ~plane.gone
        for why in np.unique(plane.why[dead]):
            labels = channels.labels[site, axis][dead & (plane.why == why)]
            causes.setdefault(int(why), set()).update(labels.tolist())
            weight = makers[site].input[1] if len(makers[site].input) > 1 else site
            tensors.setdefault(int(why), []).append(f"{weight}[0]")
    return [
        KeptZero(choice.causes[why].reason, choice.causes[why].op, len(labels), list(dict.fromkeys(tensors[why])))
        for why, labels in causes.items()
    ]


MAKERS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"}


def _frozen(program: Program, trace: Trace, choice: Choice) -> list[Frozen]:
    counts: dict[tuple[str, str], int] = {}
    for freeze in trace.freezes:
        if freeze.node is None or freeze.why == "input":
            continue
        axes = range(len(trace.shapes[freeze.site])) if freeze.axis is None else [freeze.axis]
        found = sum(choice.planes[freeze.site, axis].gone.size for axis in axes if (freeze.site, axis) in choice.planes)
        if found:
            key = label(program.nodes[freeze.node]), freeze.why
            counts[key] = counts.get(key, 0) + found
    return [Frozen(op, channels, why) for (op, why), channels in counts.items()]
