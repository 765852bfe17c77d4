"""Steps 3 and 4: who needs which channel, and what may go? One greatest fixpoint.

Everything starts as removable and is withdrawn until nothing changes:

* hyperplanes that a node pairs go together or not at all (`trace.Link`);
* an index that is summed over may go only if nothing is lost from the sum (`reads.Check`);
* at forks and joins a use may differ from its tensor, where an adapter pays for itself (`adapters.Adapter`);
* an element goes iff one of its hyperplanes goes, and a channel id goes everywhere or nowhere;
* nothing goes along a frozen axis, and something always stays of what is still read.

Doing liveness and choice in sequence instead is unsound: what a gate needs depends on which outputs survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from graph.choosing.adapters import Select, adapters, reject
from graph.choosing.alignment import give_back
from graph.choosing.carriers import appoint
from graph.choosing.liveness import Liveness
from graph.choosing.reads import check
from graph.model.program import Program, label
from graph.tracing.planes import Choice, Plane
from graph.tracing.trace import Ids, Link, Site, Trace, name_of
from graph.values import Values

ALIGNMENTS = 3  # passes of `give_back`

Condition = Callable[[], bool]  #: withdraws what it must; true if that is news


def choose(program: Program, trace: Trace, values: Values | None, align: int = 1, select: Select = "auto") -> Choice:
    """The largest set of hyperplanes that may go, but for those that are given back for alignment.

    Args:
        program: the model.
        trace: its channels.
        values: what is known; ``None`` asks what *could* go if its weights were zero.
        align: widths become multiples of this where they were that wide: CPU kernels work in blocks of channels.
        select: whether forks and joins get adapters: where they pay for themselves, never, or always.
    """
    fixpoint = _Fixpoint(program, trace, values, select)
    fixpoint.solve()
    if values is not None and align > 1:
        fixpoint.align(align)
    fixpoint.conditions.clear()  # they refer to it, and a circle would keep the whole analysis in memory
    return fixpoint.choice


class _Fixpoint:
    def __init__(self, program: Program, trace: Trace, values: Values | None, select: Select) -> None:
        self.program, self.trace, self.values, self.select = program, trace, values, select
        self.liveness = Liveness(program, trace)
        self.choice = Choice()
        self.start()
        self.reads = [] if values is None else trace.reads
        self.checks = [check(read, program, trace, values, self.choice) for read in self.reads] if values else []
        self.adapters = adapters(program, trace, values)
        self.conditions = self.ordered()

    def start(self) -> None:
        """Everything is removable but what is frozen."""
        self.choice.planes.clear()
        self.gone = np.ones(self.trace.count, np.bool_)
        self.why = np.zeros(self.trace.count, np.int32)
        for site, ids in self.trace.ids.items():
            varying = self.trace.varying(site)
            for axis in varying:
                self.choice.planes[site, axis] = Plane.full(ids.shape[axis])
            if not varying and ids.size:  # no hyperplane of it can go, so neither can its channel
                self.gone[ids] = False
                self.why[ids] = self.choice.cause("last", self.describe(site))
        for link in self.trace.links:
            for site, axis in link.axes:
                self.choice.planes.setdefault((site, axis), Plane.full(self.trace.shapes[site][axis]))
        for freeze in self.trace.freezes:
            why = self.choice.cause(freeze.why if freeze.node is None else "frozen", freeze.by)
            axes = range(len(self.trace.shapes[freeze.site])) if freeze.axis is None else [freeze.axis]
            for axis in axes:
                plane = self.choice.planes.get((freeze.site, axis))
                if plane is not None:
                    plane.withdraw(np.ones_like(plane.gone), why)
            if freeze.axis is None and not self.trace.varying(freeze.site):
                self.why[self.trace.ids[freeze.site]] = why

    def solve(self) -> None:
        self.settle()
        if self.values is None:
            return
        if appoint(self.program, self.trace, self.choice, self.checks):
            self.start()
            self.settle()
        self.choice.carriers = {each.node: each.carriers for each in self.checks if each.carriers}

    def align(self, multiple: int) -> None:
        """Give dead channels back; what one tensor gets, others may have to follow."""
        for _ in range(ALIGNMENTS):
            if not give_back(self.program, self.trace, self.choice, multiple):
                return
            self.settle()

    def settle(self) -> None:
        """Withdraw until nothing changes, every adapter pays for itself, and what is read keeps something."""
        while True:
            while self.round():
                pass
            if self.values is None:
                return
            if reject(self.program, self.trace, self.choice, self.adapters, self.select) or self.even():
                continue
            if not self.keep_last():
                return

    def ordered(self) -> list[Condition]:
        """All conditions in the order of the graph, so that a sweep against it carries every need to its origin."""
        found: list[tuple[int, Condition]] = []
        found += [
            (read.node, partial(each.apply, self.choice)) for read, each in zip(self.reads, self.checks, strict=True)
        ]
        found += [(each.use[0], partial(each.apply, self.choice)) for each in self.adapters]
        found += [(link.node, partial(self.together, link)) for link in self.trace.links]
        for site in self.trace.ids:
            if self.trace.varying(site):
                place = site[0] if isinstance(site, tuple) else self.program.makers.get(site, -1)
                found.append((place, partial(self.grid, site)))
        return [condition for _, condition in sorted(found, key=lambda entry: entry[0])]

    def round(self) -> bool:
        """One sweep against the graph and one along it; true if anything was withdrawn."""
        return _sweep(reversed(self.conditions)) and _sweep(self.conditions)

    def together(self, link: Link) -> bool:
        planes = [self.choice.planes[axis] for axis in link.axes]
        stay = ~np.logical_and.reduce([plane.gone for plane in planes])
        if not stay.any():
            return False
        why = np.maximum.reduce([plane.why for plane in planes])
        return _sweep(partial(plane.withdraw, stay, why) for plane in planes)

    def grid(self, site: Site) -> bool:
        """An element goes iff one of its hyperplanes goes, and with it its id everywhere."""
        ids = self.trace.ids[site]
        planes = {axis: self.choice.planes[site, axis] for axis in self.trace.varying(site)}
        if len(planes) == 1:
            return self.line(ids.ravel(), *planes.values())
        covered = np.zeros((1,) * ids.ndim, np.bool_)
        why = np.zeros((1,) * ids.ndim, np.int32)
        for axis, plane in planes.items():
            shape = [-1 if a == axis else 1 for a in range(ids.ndim)]
            covered = covered | plane.gone.reshape(shape)
            why = np.maximum(why, plane.why.reshape(shape))
        changed = False
        stays = np.broadcast_to(~covered, ids.shape)
        kept = ids[stays]
        news = self.gone[kept]
        if news.any():
            self.why[kept[news]] = np.broadcast_to(why, ids.shape)[stays][news]
            self.gone[kept] = False
            changed = True
        for axis, plane in planes.items():
            others = tuple(a for a in range(ids.ndim) if a != axis)
            changed |= plane.withdraw(np.asarray((~self.gone[ids]).any(others)), self.why[ids].max(others))
        return changed

    def line(self, ids: Ids, plane: Plane) -> bool:
        """`grid` for ids that vary along one axis."""
        kept = ids[~plane.gone]
        news = self.gone[kept]
        if news.any():
            self.why[kept[news]] = plane.why[~plane.gone][news]
            self.gone[kept] = False
        return plane.withdraw(~self.gone[ids], self.why[ids]) or bool(news.any())

    def even(self) -> bool:
        """Every group that stays keeps as many channels as the fullest one."""
        changed = False
        for groups in self.trace.groups:
            planes = [self.choice.planes.get(axis) for axis in (groups.inputs, groups.outputs)]
            kept = [_per_group(plane, groups.count) for plane in planes]
            stays = (kept[0] > 0) | (kept[1] > 0)
            why = self.choice.cause("group", label(self.program.nodes[groups.node]))
            for plane, counts in zip(planes, kept, strict=True):
                if plane is not None and stays.any():
                    missing = np.where(stays, max(counts.max(), 1) - counts, 0)
                    gone = plane.gone.reshape(groups.count, -1)
                    back = gone & (np.cumsum(gone, 1) <= missing[:, None])
                    changed |= plane.withdraw(back.ravel(), why)
        return changed

    def keep_last(self) -> bool:
        """Whatever is read keeps one channel; what nobody reads any more goes as a whole."""
        dropped, starved = self.liveness.judge(self.choice)
        self.choice.dropped = dropped
        for axis in starved:
            plane = self.choice.planes[axis]
            chosen = np.arange(plane.gone.size) == self.commonest(*axis)
            plane.withdraw(chosen, self.choice.cause("last", self.describe(axis[0])))
        return bool(starved)

    def commonest(self, site: Site, axis: int) -> int:
        """The index whose channel most other tensors have, too: it costs least to keep."""
        counts = np.bincount(np.concatenate([ids.ravel() for ids in self.trace.ids.values()]))
        ids = self.trace.ids[site]
        return int(counts[ids].max(tuple(a for a in range(ids.ndim) if a != axis)).argmax())

    def describe(self, site: Site) -> str:
        return name_of(self.program, site)


def _per_group(plane: Plane | None, groups: int) -> NDArray[np.int64]:
    """How many channels each group keeps; all of them if none can go."""
    if plane is None:
        return np.ones(groups, np.int64)
    return np.asarray(np.count_nonzero(~plane.gone.reshape(groups, -1), axis=1))


def _sweep(conditions: Iterable[Condition]) -> bool:
    """Apply every condition, whatever the others say."""
    news = [condition() for condition in conditions]
    return any(news)
