"""Step 1: which elements are the same channel?

Every element of every activation gets an integer channel id, in a collapsed array of the tensor's shape. Data movement
is executed on the ids, element-wise ops say that the ids which meet are the same, and ops with a signature make
new ids and say which *hyperplanes* (all elements with one index along one axis) of their operands go together.
Connected components are solved once, at the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from graph.errors import ModelError
from graph.evaluate import CannotEvaluate
from graph.movement import data_inputs, factors, move, slice_steps, touched
from graph.program import Program, Shape, attributes, captured, key, label
from graph.quantised import Stored, blocks, parts, quantised
from graph.rules import MOVEMENT, elementwise, executed, signature
from graph.signature import OPAQUE, Signature
from graph.sizes import TARGETS, Sizes, Source

Ids = NDArray[np.int64]

#: A tensor with channels: an activation by name, or the use (node, input slot) that a node makes of a tensor. Constants
#: are always told apart by use, since exporters merge equal ones. So are activations at forks and joins, where one
#: consumer may ignore a channel that another one needs.
Use = tuple[int, int]
Site = str | Use

#: Ops to which a channel that one operand lacks is a zero.
JOINS = {"Add", "Sum"}


@dataclass(frozen=True)
class Link:
    """Axes whose hyperplanes of equal index go together or not at all, because ``node`` pairs them."""

    node: int
    axes: tuple[tuple[Site, int], ...]


@dataclass(frozen=True)
class Read:
    """``node`` sums over an axis of two operands: an index may go only if nothing is lost from the sum.

    Attributes:
        left: an axis of one operand.
        right: the axis of the other operand that has the same indices; in groups, those of one group.
    """

    node: int
    left: tuple[Site, int]
    right: tuple[Site, int]


@dataclass(frozen=True)
class Groups:
    """``node`` works in ``count`` groups of as many inputs and as many outputs each."""

    node: int
    count: int
    inputs: tuple[Site, int]
    outputs: tuple[Site, int]


@dataclass(frozen=True)
class Freeze:
    """No hyperplane may go along ``axis`` of ``site`` (along any axis if ``None``).

    Attributes:
        node: that forbids it; ``None`` if it is an input or output of the model.
        by: the name of what forbids it.
    """

    node: int | None
    site: Site
    axis: int | None
    why: str
    by: str


@dataclass
class Trace:
    """Channel ids and everything that ties them.

    Attributes:
        ids: collapsed id arrays; equal ids are one channel. Weights of contractions have none, their axes are linked.
        shapes: full shape of every site.
        follows: constants of element-wise ops, which lose what the output named with them loses.
        edges: uses of an activation that have channels of their own, with the activation's name.
        stored: uses of dequantised constants, with what is sliced in their place.
        sizes: elements of constants in computed shapes, with the axis whose size they are.
        count: number of distinct ids.
    """

    ids: dict[Site, Ids] = field(default_factory=dict)
    shapes: dict[Site, Shape] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    groups: list[Groups] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)
    follows: dict[Use, str] = field(default_factory=dict)
    edges: dict[Use, str] = field(default_factory=dict)
    stored: dict[Use, list[Stored]] = field(default_factory=dict)
    sizes: dict[tuple[Use, int], tuple[Site, int]] = field(default_factory=dict)
    count: int = 0

    def varying(self, site: Site) -> list[int]:
        """Axes of ``site`` along which its channels differ."""
        ids = self.ids.get(site)
        return [] if ids is None else [axis for axis, size in enumerate(ids.shape) if size > 1]


def trace(program: Program) -> Trace:
    """Channel ids for every tensor of ``program``."""
    tracer = _Tracer(program)
    for name in program.inputs:
        tracer.opaque(None, name, "input")
    for index, node in enumerate(program.nodes):
        tracer.visit(index, node)
    tracer.freeze_blocks()
    for name in program.outputs:
        tracer.freeze(None, name, None, "output")
    return tracer.finish()


class _Tracer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.trace = Trace()
        self.sizes = Sizes(program)
        self.same: list[tuple[Ids, Ids]] = []
        self.stuck: dict[int, Freeze] = {}  # ids that never go
        self.uses = Counter(name for node in program.nodes for name in [*node.input, *captured(node)])
        self.uses.update(program.outputs)
        self.concatenated = {node.output[0] for node in program.nodes if key(node) == "Concat"}

    # -- ids

    def fresh(self, shape: tuple[int, ...]) -> Ids:
        """Ids that no other element has."""
        size = int(np.prod(shape, dtype=np.int64))
        ids = np.arange(self.trace.count, self.trace.count + size, dtype=np.int64).reshape(shape)
        self.trace.count += size
        return ids

    def opaque(self, index: int | None, name: str, why: str) -> None:
        """Give a tensor one id that never goes."""
        if name in self.program.shapes:
            self.put(name, self.fresh((1,) * len(self.program.shapes[name])))
            self.stick(name, self.freezing(index, name, None, why))

    def stick(self, name: str, freeze: Freeze) -> None:
        """The one id of a tensor never goes, for the same reason as another."""
        self.stuck[self.trace.ids[name].item()] = freeze
        self.trace.freezes.append(replace(freeze, site=name, axis=None))

    def cause(self, ids: Ids | None) -> Freeze | None:
        """Why a tensor has but one id, and it never goes; ``None`` if this is not so."""
        return self.stuck.get(ids.item()) if ids is not None and ids.size == 1 else None

    def put(self, site: Site, ids: Ids) -> None:
        self.trace.ids[site] = ids
        self.trace.shapes[site] = self.shape(site)

    def shape(self, site: Site) -> Shape:
        name = site if isinstance(site, str) else self.program.nodes[site[0]].input[site[1]]
        return self.program.shapes[name]

    def site(self, index: int, slot: int) -> Site:
        """The operand in ``slot`` of node ``index``: an activation, or this use of one or of a constant."""
        name = self.program.nodes[index].input[slot]
        return (index, slot) if (index, slot) in self.trace.ids or name not in self.trace.ids else name

    def use(self, index: int, slot: int) -> Site:
        """Like `site`, but at a fork or join the use gets channels of its own.

        Movement has none: a Gather before a Concat is better placed behind it.
        """
        node, name = self.program.nodes[index], self.program.nodes[index].input[slot]
        site = self.site(index, slot)
        if site != name or key(node) in MOVEMENT or len(self.trace.varying(name)) != 1:
            return site
        if self.uses[name] > 1 or key(node) in JOINS or name in self.concatenated:
            unique, places = np.unique(self.trace.ids[name], return_inverse=True)
            self.trace.edges[index, slot] = name
            self.put((index, slot), self.fresh(unique.shape)[places.reshape(self.trace.ids[name].shape)])
        return self.site(index, slot)

    def freeze(self, index: int | None, site: Site, axis: int | None, why: str) -> None:
        if site in self.trace.ids:
            self.trace.freezes.append(self.freezing(index, site, axis, why))

    def freezing(self, index: int | None, site: Site, axis: int | None, why: str) -> Freeze:
        return Freeze(index, site, axis, why, str(site) if index is None else label(self.program.nodes[index]))

    # -- ops

    def visit(self, index: int, node: NodeProto) -> None:
        constants = self.program.constants
        if all(name in constants for name in node.output if name):
            return
        if key(node) == "Shape":
            for axis in self.sizes.stay(node.output[0]):
                self.freeze(index, node.input[0], axis, "its size is read")
        if all(name in self.program.probed for name in node.output if name):  # sizes and indices, no channels
            for name in node.output:
                self.opaque(index, name, "shape or index")
            return
        known = all(name in self.program.shapes for name in [*node.input, *node.output] if name)
        if known:
            if elementwise(self.program, node):
                return self.elementwise(index, node)
            if executed(self.program, node):
                return self.movement(index, node)
        found = signature(self.program, node) if known else None
        if found is not None:
            self.contraction(index, node, found)
            return self.adapt(index, node)
        self.give_up(index, node, "no rule" if known else "unknown shape")

    def give_up(self, index: int, node: NodeProto, why: str) -> None:
        """Nothing may leave what this node touches."""
        for site in [*(self.site(index, slot) for slot in range(len(node.input))), *captured(node)]:
            self.freeze(index, site, None, why)
        for name in node.output:
            if name:
                self.opaque(index, name, why)

    def movement(self, index: int, node: NodeProto) -> None:
        operands = data_inputs(node)
        constants = self.program.constants
        arrays: list[Ids] = []
        for slot, name in enumerate(operands):
            if name in constants and name not in self.trace.ids:
                self.put((index, slot), self.fresh(self.program.shapes[name]))
            arrays.append(self.trace.ids[self.site(index, slot)])
        fill = self.fresh(self.program.shapes[node.output[0]][:0])
        if key(node) == "Pad":  # padded channels are channels of their own
            fill = self.fresh((sum(self.program.shapes[node.output[0]]),))
        try:
            outputs = move(self.program, node, arrays, fill)
        except CannotEvaluate as reason:
            return self.give_up(index, node, str(reason))
        for name, ids in zip([name for name in node.output if name], outputs, strict=True):
            self.put(name, ids)
        for name in node.input[len(operands) :]:
            self.freeze(index, name, None, "shape or index")
        self.freeze_unwritable(index, node)

    def freeze_unwritable(self, index: int, node: NodeProto) -> None:
        """Sizes and bounds that are computed at run time cannot be rewritten, and a stride cannot be uneven."""
        operands = data_inputs(node)
        computed = [name for name in node.input[len(operands) :] if name and name not in self.program.constants]
        out = node.output[0]
        if key(node) in ("DepthToSpace", "SpaceToDepth"):  # blocks of pixels stay square and whole
            for axis in (2, 3):
                self.freeze(index, out if key(node) == "DepthToSpace" else self.site(index, 0), axis, "mixed")
        if key(node) in TARGETS:
            self.adapt(index, node)
        elif computed or (key(node) == "Slice" and (slice_steps(self.program, node) != 1).any()):
            for slot in range(len(operands)):
                for axis in touched(self.program, node):
                    self.freeze(index, self.site(index, slot), axis, "computed or uneven bounds")

    def adapt(self, index: int, node: NodeProto) -> None:
        """Where the target shape is computed, an axis may lose what the one loses that its size was read from."""
        slot, out = TARGETS.get(key(node), len(node.input)), node.output[0]
        name = node.input[slot] if slot < len(node.input) else ""
        if not name or name in self.program.constants:
            return
        rank, target = len(self.program.shapes[out]), self.program.known(name)
        axes = range(rank) if target is None else attributes(node).get("axes", range(rank - target.size, rank))
        for place, axis in enumerate(axes):
            size = None if target is None else int(target.flat[place])
            if size == -1 or (size == 1 and key(node) == "Expand"):
                continue
            source = self.sizes.source(name, place) if size == self.program.shapes[out][axis] else None
            if source is None:
                self.freeze(index, out, axis, "computed size")
            else:
                self.tie(index, (out, axis % rank), source)

    def tie(self, index: int, axis: tuple[Site, int], source: Source) -> None:
        """As many indices leave ``axis`` as leave the one that its size comes from."""
        if isinstance(source.site, str):
            other: tuple[Site, int] = source.site, source.place
        else:
            other = self.trace.sizes.setdefault((source.site, source.place), axis)
        varying = [end for end in (axis, other) if end[1] in self.trace.varying(end[0])]
        if len(varying) == 2 and axis != other:
            self.trace.links.append(Link(index, (axis, other)))
        elif len(varying) == 1 and axis != other:
            self.freeze(index, *varying[0], "computed size")

    def elementwise(self, index: int, node: NodeProto) -> None:
        out = node.output[0]
        shape = self.program.shapes[out]
        rank = len(shape)
        operands: list[tuple[Site, Ids, Shape]] = []
        for slot, name in enumerate(node.input):
            if not name:
                continue
            if name in self.trace.ids:
                site = self.use(index, slot)
                own = self.trace.ids[site]
                lead = (1,) * (rank - own.ndim)
                operands.append((site, own.reshape(lead + own.shape), lead + self.shape(name)))
            else:
                self.trace.follows[index, slot] = out
        if not operands:  # constants of an unknown kind: nothing to remove
            return self.opaque(index, out, "no channels")
        extents = [max(ids.shape[axis] for _, ids, _ in operands) for axis in range(rank)]
        # An operand of size 1 is *read by* the channels it is broadcast over; only the others are the same channels.
        broadcast = [any(size == 1 < extents[axis] for axis, size in enumerate(full)) for _, _, full in operands]
        peers = [ids for (_, ids, _), wide in zip(operands, broadcast, strict=True) if not wide]
        constant = self.constant_axes(index, node, operands, rank)
        cause = next(filter(None, map(self.cause, peers)), None)
        if cause and not any(constant):
            self.put(out, self.fresh((1,) * rank))
            self.stick(out, cause)
            self.trace.freezes += [replace(cause, site=site, axis=None) for site, _, _ in operands]
            return
        if any(constant) or not peers or any(ids.shape != tuple(extents) for ids in peers[:1]):
            ids = self.fresh(tuple(shape[a] if constant[a] else extents[a] for a in range(rank)))
        else:
            ids = peers[0]
        self.put(out, ids)
        for (site, own, _), wide in zip(operands, broadcast, strict=True):
            if wide or any(constant):
                offset = rank - len(self.shape(site))
                for axis in range(rank):
                    if own.shape[axis] > 1:
                        self.trace.links.append(Link(index, ((out, axis), (site, axis - offset))))
            elif own is not ids:
                self.same.append((np.broadcast_to(own, ids.shape), ids))

    def constant_axes(
        self, index: int, node: NodeProto, operands: list[tuple[Site, Ids, Shape]], rank: int
    ) -> list[bool]:
        """Axes that only constants have: their channels are born here, all activations being broadcast along them."""
        born = [False] * rank
        for slot, name in enumerate(node.input):
            if (index, slot) in self.trace.follows:
                shape = self.program.shapes[name]
                for axis, size in enumerate(shape, rank - len(shape)):
                    if size > 1 and all(full[axis] == 1 for _, _, full in operands):
                        born[axis] = True
        return born

    def contraction(self, index: int, node: NodeProto, found: Signature) -> None:
        uses: dict[str, list[tuple[Site, int]]] = {}
        summed: dict[str, list[tuple[Site, int]]] = {}
        blocked: set[str] = set()
        cause: Freeze | None = None
        held: set[str] = {OPAQUE}  # letters of the operand that never goes
        for name in node.input[len(found.operands) :]:
            self.freeze(index, name, None, "no rule")
        for slot, letters in enumerate(found.operands):
            if slot >= len(node.input) or not node.input[slot]:
                continue
            site = self.use(index, slot)
            shape = self.shape(site)
            ids = self.trace.ids.get(site)
            self.trace.shapes[site] = shape
            if cause is None and self.cause(ids):
                cause, held = self.cause(ids), held.union(letters)
            for axis, letter in enumerate(letters):
                if letter == OPAQUE:
                    if ids is not None and ids.shape[axis] > 1:
                        self.freeze(index, site, axis, "mixed")
                        cause, held = cause or self.trace.freezes[-1], held.union(letters)
                elif shape[axis] > 1:
                    if ids is not None and ids.shape[axis] == 1:
                        blocked.add(letter)
                    (summed if letter in found.summed else uses).setdefault(letter, []).append((site, axis))
        if found.groups > 1:  # the output channels of a transposed convolution are no axis of its weight
            uses.setdefault(found.outputs[0][1], [])
        carried = {letter for letter in uses if letter not in blocked}
        outputs = [name for name in node.output if name]
        for name, letters in zip(outputs, found.outputs, strict=False):
            shape = self.program.shapes[name]
            self.put(
                name,
                self.fresh(
                    tuple(size if letter in carried else 1 for size, letter in zip(shape, letters, strict=True))
                ),
            )
            for axis, letter in enumerate(letters):
                if letter in carried and shape[axis] > 1:
                    uses[letter].append((name, axis))
            if cause and held.issuperset(letters) and self.trace.ids[name].size == 1:
                self.stick(name, cause)
        for letter, axes in (uses | summed).items():
            if letter in blocked:
                for site, axis in axes:
                    freeze = cause or self.freezing(index, site, axis, "mixed")
                    self.trace.freezes.append(replace(freeze, site=site, axis=axis))
            elif len(axes) > 1:
                met = sorted({self.trace.shapes[site][axis] for site, axis in axes})
                if len(met) > 1:  # onnx's inference does not look
                    raise ModelError(f"node {label(node)} has inconsistent shapes: {met} channels meet")
                self.trace.links.append(Link(index, tuple(axes)))
        if found.groups > 1:
            data = self.site(index, 0), 1
            self.trace.groups.append(Groups(index, found.groups, data, (node.output[0], 1)))
            for axes in summed.values():
                axes += [((index, 1), 1)] if len(axes) == 1 else []
        for letter, axes in summed.items():
            if letter not in blocked and len(axes) == 2:
                self.trace.reads.append(Read(index, axes[0], axes[1]))
            elif letter not in blocked:
                for site, axis in axes:
                    self.freeze(index, site, axis, "summed")

    def freeze_blocks(self) -> None:
        """Elements that were quantised with a common scale stay together."""
        self.trace.stored = quantised(self.program)
        for use, axis in blocks(self.program, self.trace.stored):
            out = self.trace.follows.get(use)
            site, offset = (out, len(self.shape(out)) - len(self.shape(use))) if out else (use, 0)
            self.trace.freezes.append(self.freezing(use[0], site, axis + offset, "quantised in blocks"))
        for groups in self.trace.groups:  # each group loses other indices of axis 1, of which there must be one copy
            weight, *scales = parts(self.trace.stored, (groups.node, 1), 2)
            if weight.axes[1] != 1 or any(1 in scale.axes for scale in scales):
                for site, axis in (groups.inputs, groups.outputs):
                    self.freeze(groups.node, site, axis, "quantised")

    def freeze_dynamic(self) -> None:
        """A grid along an axis whose size depends on what is fed fits the probe size only, unless it repeats."""
        for name, periods in self.program.dynamic.items():
            if name not in self.program.makers or name not in self.trace.ids:
                continue
            node, ids = self.program.nodes[self.program.makers[name]], self.trace.ids[name]
            for axis, period in periods.items():
                if not _repeats(ids, axis, period):
                    axes = {axis}
                    if key(node) in RESHAPES:  # what is cut out of it, or merged with it, is different as well
                        groups = factors(self.program.shapes[node.input[0]], self.program.shapes[name])
                        axes.update(*(new for _, new in groups if axis in new))
                    self.trace.freezes += [Freeze(None, name, each, "frozen", label(node)) for each in sorted(axes)]

    # -- components

    def finish(self) -> Trace:
        """Merge the ids that were said to be the same."""
        result = self.trace
        self.freeze_dynamic()
        if self.same:
            left = np.concatenate([a.ravel() for a, _ in self.same])
            right = np.concatenate([b.ravel() for _, b in self.same])
            graph = coo_array((np.ones(left.size, np.bool_), (left, right)), (result.count, result.count))
            count, labels = connected_components(graph, directed=False)
            labels = labels.astype(np.int64)
            result.ids = {site: labels[ids] for site, ids in result.ids.items()}
            result.count = int(count)
        return result


RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}


def _repeats(ids: Ids, axis: int, period: int) -> bool:
    """Whether ids along an axis are those of ``period`` elements, again and again."""
    if ids.shape[axis] == 1:
        return True
    if period == 0 or ids.shape[axis] % period:
        return False
    apart = np.moveaxis(ids, axis, 0).reshape(-1, period, *np.delete(ids.shape, axis))
    return bool((apart == apart[:1]).all())
