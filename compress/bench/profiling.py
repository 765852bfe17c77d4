"""Why is it not faster? Two profiles side by side, and held against what the machine can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from compress.bench.roofline import Roof, measure_roof
from runtime import Settings
from runtime.profile import Op, Profile, profile
from runtime.session import Feeds
from runtime.trial import trial

BLOCKED = "_nchwc"  # how onnxruntime calls convolutions whose channels come in blocks
SLOW = 1.05  # times as long as its share of MACs would have it


@dataclass(frozen=True)
class Layer:
    """A convolution or matrix product; None on the side that has no counterpart."""

    name: str
    before: Op | None
    after: Op | None


@dataclass(frozen=True)
class Kind:
    """All operators of one kind: how many, and their seconds per run of the model, before and after."""

    name: str
    moves: bool
    count: tuple[int, int]
    seconds: tuple[float, float]


@dataclass(frozen=True)
class Profiles:
    """What was found.

    Attributes:
        before: of the reference; None if a model was looked at alone.
        after: of the model.
        roof: of the machine.
        provider: that it was run with.
    """

    before: Profile | None
    after: Profile
    roof: Roof
    provider: str

    @property
    def both(self) -> tuple[Profile, ...]:
        """Before, if there is one, and after."""
        return (self.after,) if self.before is None else (self.before, self.after)

    @property
    def layers(self) -> list[Layer]:
        """Convolutions and matrix products in the order they run; those of the same form are the same layer.

        Names cannot tell: onnxruntime makes new ones when it fuses, and fuses otherwise after a change.
        """
        after = _sums(self.after)
        if self.before is None:
            return [Layer(_name(op), None, op) for op in after]
        before = _sums(self.before)
        matcher = SequenceMatcher(None, [_form(op) for op in before], [_form(op) for op in after], autojunk=False)
        found = []
        for tag, start, stop, other, end in matcher.get_opcodes():
            if tag == "equal":
                pairs = zip(before[start:stop], after[other:end], strict=True)
                found += [Layer(_name(one), one, two) for one, two in pairs]
            else:
                found += [Layer(_name(op), op, None) for op in before[start:stop]]
                found += [Layer(_name(op), None, op) for op in after[other:end]]
        return found

    @property
    def slowest(self) -> list[Layer]:
        """The layers by the time they take after, or before if nothing is left of them."""
        return sorted(self.layers, key=lambda layer: [op.seconds if op else 0.0 for op in (layer.after, layer.before)])[
            ::-1
        ]

    @property
    def kinds(self) -> list[Kind]:
        """By the time they take after, or before if nothing is left of them."""
        sides = [() if self.before is None else self.before.ops, self.after.ops]
        names = {op.kind: op.moves for side in sides for op in side}
        rows = []
        for name, moves in names.items():
            before, after = ([op.seconds for op in side if op.kind == name] for side in sides)
            rows.append(Kind(name, moves, (len(before), len(after)), (sum(before), sum(after))))
        return sorted(rows, key=lambda row: row.seconds[::-1], reverse=True)

    def rate(self, op: Op) -> float:
        """Multiply-accumulates per second; 0 for what is too quick for the profiler's clock."""
        return op.macs / op.seconds if op.seconds else 0.0

    def share(self, op: Op) -> float:
        """The rate of ``op`` as a fraction of what its arithmetic and its bytes allow."""
        return self.rate(op) / self.roof.attainable(op.macs, op.bytes)

    def why(self) -> list[str]:
        """Where the time went, one statement a line."""
        return list(self._statements())

    def _statements(self) -> Iterator[str]:
        peak = f"the peak here is {self.roof.macs / 1e9:.0f} GMAC/s and {self.roof.bytes / 1e9:.1f} GB/s"
        rates = " and ".join(f"{_rate(each) / 1e9:.1f}" for each in self.both)
        yield f"convolutions and matrix products run at {rates} GMAC/s{' before and after' * bool(self.before)}; {peak}"
        moved = [sum(op.seconds for op in each.ops if op.moves) for each in self.both]
        told = " before, ".join(
            f"{1e3 * seconds:.3f} ms ({_ratio(each.seconds, seconds):.0%} of the time)"
            for seconds, each in zip(moved, self.both, strict=True)
        )
        yield f"moving data takes {told}{' after' * bool(self.before)}{self._movers()}"
        if self.before is None:
            return
        macs = _ratio(*(sum(op.macs for op in each.ops) for each in self.both))
        seconds = _ratio(self.before.seconds, self.after.seconds)
        yield f"left of the kernels' MACs {macs:.0%}, of the operators' time {seconds:.0%}"
        out = [sum(not op.name.endswith(BLOCKED) and "Conv" in op.kind for op in each.ops) for each in self.both]
        if out[1] > out[0] and self.provider == "cpu":
            more = f"{out[1] - out[0]} more convolutions run outside of the blocked layout (NCHWc) than before"
            yield f"{more}: their channels are no multiples of the kernels' block; try shrink --align auto"
        if slow := [layer for layer in self.layers if _lags(layer)]:
            lost = sum(layer.after.seconds for layer in slow if layer.after)
            yield f"{len(slow)} layers gained less than their MACs promise; they take {1e3 * lost:.3f} ms"

    def _movers(self) -> str:
        parts = [f"{kind.name} {1e3 * kind.seconds[1]:.3f}" for kind in self.kinds if kind.moves and kind.count[1]]
        return f": {', '.join(parts)}" if parts else ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "provider": self.provider,
            "roof": {"macs_per_second": self.roof.macs, "bytes_per_second": self.roof.bytes},
            "candidate": self.after.to_dict(),
            "reference": self.before and self.before.to_dict(),
            "layers": [asdict(layer) for layer in self.layers],
            "why": self.why(),
        }


def profile_files(
    model: Path,
    against: Path | None,
    *,
    settings: Settings,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    given: Feeds | None = None,
) -> Profiles:
    """Profile a model, and the one it came from.

    Args:
        model: the candidate: "after".
        against: the reference: "before".
        settings: how both are run.
        batch: None for the batch size that the model is fixed to, or 1.
        dims: sizes of dynamic axes by name.
        given: inputs that are not random, by name.

    Raises:
        SessionError: a model cannot be opened or run, or the two cannot be compared.
    """
    feeds = trial(model, against, settings=settings, batch=batch, dims=dims, given=given).feeds
    before = None if against is None else profile(against, feeds, settings)
    return Profiles(before, profile(model, feeds, settings), measure_roof(settings), settings.provider)


def _sums(found: Profile) -> list[Op]:
    return [op for op in found.ops if op.macs]


def _name(op: Op) -> str:
    return op.name.removesuffix(BLOCKED)


def _form(op: Op) -> tuple[Any, ...]:
    """What pruning leaves alone: the size of the kernel and of the map, not the channels."""
    if "Conv" not in op.kind:
        return ("matrix", len(op.outputs[0]))
    weights = next(shape for shape in op.inputs[1:] if len(shape) == len(op.outputs[0]))
    return (weights[2:], weights[1] == 1, op.outputs[0][2:])


def _rate(found: Profile) -> float:
    sums = _sums(found)
    return _ratio(sum(op.seconds for op in sums), sum(op.macs for op in sums))


def _ratio(before: float, after: float) -> float:
    return after / before if before else 0.0


def _lags(layer: Layer) -> bool:
    before, after = layer.before, layer.after
    return before is not None and after is not None and after.seconds > SLOW * before.seconds * after.macs / before.macs
