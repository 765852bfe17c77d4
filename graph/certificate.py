"""What went and why, and what stayed although it is dead: the certificate that comes with every shrunk model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graph.choice import Axis, Choice
from graph.counts import Size
from graph.program import Program, label
from graph.trace import Trace
from graph.values import Values

SCHEMA = 1
REASONS = ("unread", "zero", "constant")


@dataclass(frozen=True)
class Removed:
    """Channels that went together: coupled through the same tensors, for the same reason."""

    reason: str
    channels: int
    tensors: list[str]
    absorbed_into: list[str]


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

    def json(self) -> str:
        """The certificate as JSON, with its schema version."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2) + "\n"


class Channels:
    """Every hyperplane's channel: hyperplanes that share ids or are linked are one.

    Attributes:
        labels: per axis, the channel of every index.
        families: per axis, which axes hang together.
    """

    def __init__(self, trace: Trace, choice: Choice) -> None:
        axes = list(choice.planes)
        starts = np.cumsum([0, *(choice.planes[axis].gone.size for axis in axes)])
        offset = dict(zip(axes, starts.tolist(), strict=False))
        count = int(starts[-1])
        left: list[NDArray[np.int64]] = []
        right: list[NDArray[np.int64]] = []
        for link in trace.links:
            size = choice.planes[link.axes[0]].gone.size
            for axis in link.axes[1:]:
                left.append(offset[link.axes[0]] + np.arange(size))
                right.append(offset[axis] + np.arange(size))
        for site, ids in trace.ids.items():
            varying = [axis for axis in range(ids.ndim) if ids.shape[axis] > 1]
            if len(varying) == 1:  # ids that vary along two axes belong to a hyperplane of each
                left.append(offset[site, varying[0]] + np.arange(ids.size))
                right.append(count + ids.ravel())
        self.labels = dict(zip(axes, _split(_components(left, right, count + trace.count)[:count], starts), strict=True))
        number = {axis: place for place, axis in enumerate(axes)}
        label_of = np.concatenate([np.unique(labels) for labels in self.labels.values()]) if axes else np.zeros(0, int)
        axis_of = np.concatenate([np.full(np.unique(self.labels[axis]).size, number[axis]) for axis in axes]) if axes else label_of
        family = _components([axis_of], [len(axes) + label_of], len(axes) + count + trace.count)
        self.families: dict[int, list[Axis]] = {}
        for axis in axes:
            self.families.setdefault(int(family[number[axis]]), []).append(axis)


def certify(
    program: Program,
    trace: Trace,
    values: Values,
    choice: Choice,
    absorbed: Mapping[int, str],
    sizes: tuple[Size, Size],
) -> Certificate:
    """Write down what the analysis found and what became of it."""
    channels = Channels(trace, choice)
    removed: list[Removed] = []
    kept: list[KeptZero] = []
    for axes in channels.families.values():
        removed += _removed(program, trace, values, choice, absorbed, channels, axes)
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
            known = values.of(_name(program, axis[0]))
            if known is None:
                continue
            mask, value = known.along(axis[1])
            at = np.searchsorted(gone, channels.labels[axis][choice.planes[axis].gone])
            np.maximum.at(rank, at, np.where(mask, np.where(value == 0, 1, 2), 0)[choice.planes[axis].gone].astype(np.int8))
            if read.node in absorbed:
                readers.setdefault(2, set()).add(absorbed[read.node])
    result = []
    for reason in np.unique(rank):
        members = gone[rank == reason]
        tensors = [
            f"{_name(program, site)}[{axis}]"
            for site, axis in axes
            if isinstance(site, tuple) and np.isin(channels.labels[site, axis], members).any()
        ]
        into = sorted(readers.get(int(reason), set()))
        result.append(Removed(REASONS[reason], int(members.size), list(dict.fromkeys(tensors)), into))
    return result


def _kept(
    program: Program, trace: Trace, values: Values, choice: Choice, channels: Channels, axes: list[Axis]
) -> list[KeptZero]:
    """Channels that a contraction or normalisation provably makes constant, and that stay."""
    causes: dict[int, set[int]] = {}
    tensors: dict[int, list[str]] = {}
    makers = {name: node for node in program.nodes for name in node.output if node.op_type in MAKERS}
    for site, axis in axes:
        if not isinstance(site, str) or site not in makers or site not in values.known:
            continue
        plane = choice.planes[site, axis]
        mask, _ = values.known[site].along(axis)
        dead = np.broadcast_to(mask, plane.gone.shape) & ~plane.gone
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


def _name(program: Program, site: str | tuple[int, int]) -> str:
    return site if isinstance(site, str) else program.nodes[site[0]].input[site[1]]


def _components(left: list[NDArray[np.int64]], right: list[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    if not left:
        return np.arange(count, dtype=np.int64)
    rows, columns = np.concatenate(left), np.concatenate(right)
    graph = coo_array((np.ones(rows.size, np.bool_), (rows, columns)), (count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _split(labels: NDArray[np.int64], starts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(labels, starts[1:-1])
