"""Which elements are the same row?

A row is born where an op makes positions, as a patch embedding does, and lives on through every op that treats it
alone: element-wise ones, products with weights, normalisation over other axes, data movement. The ops are known from
the same tables as channels are, and none is looked for by its place in an architecture. Attention mixes rows: its
scores have rows of queries along one axis, and of keys along another.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from graph.model.nodes import captured, key
from graph.model.program import Program
from graph.rows.alone import MASK, rowwise
from graph.rows.facts import Mixer, Place, Rows, RowTrace
from graph.rows.moves import Moves
from graph.rows.settled import settled
from graph.tracing.rules import elementwise, executed
from graph.tracing.signature import OPAQUE, Signature

MEANS = {"GlobalAveragePool", "ReduceMean"}


def trace(program: Program) -> RowTrace:
    """Rows of every tensor of ``program``, in which sizes that never change are constants."""
    program = settled(program)
    tracer = _Tracer(program)
    for name in program.inputs:
        if name in program.shapes:
            tracer.born(name, range(1, len(program.shapes[name])))
    for index, node in enumerate(program.nodes):
        tracer.visit(index, node)
    for name in program.outputs:
        tracer.need_all(-1, name)
    return tracer.finish()


class _Tracer(Moves):
    def visit(self, index: int, node: NodeProto) -> None:
        outputs = [name for name in node.output if name]
        if all(name in self.program.constants for name in outputs):
            return
        if key(node) == "Shape":
            self.need_all(index, node.input[0], self.sizes.stay(node.output[0]))
        if all(name in self.program.probed for name in outputs):  # sizes and indices
            return
        known = all(name in self.program.shapes for name in [*node.input, *outputs] if name)
        if known and elementwise(self.program, node):
            return self.elementwise(index, node)
        if known and executed(self.program, node):
            return self.movement(index, node)
        found = rowwise(self.program, node) if known else None
        if found is not None:
            return self.contraction(index, node, found)
        for name in [*node.input, *captured(node)]:
            self.need_all(index, name)

    def elementwise(self, index: int, node: NodeProto) -> None:
        out = node.output[0]
        rank = len(self.program.shapes[out])
        self.meet(index, node, range(rank))
        for slot, name in enumerate(node.input):
            shape = self.program.shapes[name] if name in self.program.constants else ()
            self.follow(index, slot, {a + rank - len(shape): a for a, size in enumerate(shape) if size > 1}, out)

    def contraction(self, index: int, node: NodeProto, found: Signature) -> None:
        outputs = list(zip(filter(None, node.output), found.outputs, strict=False))
        summed: dict[str, list[tuple[int, Place, Rows]]] = {}
        reborn: set[str] = set()  # letters of rows that came mixed with others
        for slot, name in enumerate(node.input):
            letters = found.operands[slot] if slot < len(found.operands) else ()
            for place, rows in self.found.places(name):
                own = {letters[axis] if letters else OPAQUE for axis in rows.axes}
                if len(own) > 1 or OPAQUE in own:
                    self.mix(index, node, place, rows, letters if slot == 0 else (), outputs[0][1])
                    reborn |= own - {OPAQUE}
                    continue
                (letter,) = own
                if letter in found.summed:
                    summed.setdefault(letter, []).append((slot, place, rows))
                for out, axes in outputs:
                    if letter in axes:
                        self.carry(index, place, rows, out, axes.index(letter))
        for entries in summed.values():
            if key(node) == "Attention":
                self.attend(index, node, entries)
            else:
                self.sum(index, entries)
        for out, axes in outputs:
            taken = {axis for _, rows in self.found.places(out) for axis in rows.axes}
            for axis, letter in enumerate(axes):
                if letter in reborn and axis not in taken:
                    self.born(out, [axis])
            before, after = self.program.shapes[node.input[0]], self.program.shapes[out]
            if len(before) == len(after):
                apart = {axis for axis, letter in enumerate(axes) if letter == OPAQUE} - taken
                mixed = any(not apart.isdisjoint(rows.axes) for _, rows in self.found.places(node.input[0]))
                if mixed or any(before[axis] != after[axis] for axis in apart):
                    self.born(out, apart)
        for slot, letters in enumerate(found.operands):
            name = node.input[slot] if slot < len(node.input) else ""
            shared = [
                (out, axes.index(letter), axis)
                for axis, letter in enumerate(letters)
                for out, axes in outputs
                if name and letter != OPAQUE and letter in axes and self.program.shapes[name][axis] > 1
            ]
            for out, axis, source in shared:
                if name in self.program.constants:
                    self.follow(index, slot, {axis: source}, out)
                elif self.found.along(name, source) is None:  # it cannot lose what the output loses
                    self.hold(out, [axis])

    def carry(self, index: int, place: Place, rows: Rows, out: str, axis: int) -> None:
        """Rows of an operand that an output has along ``axis``; operands that share it have the same."""
        ids = rows.ids.ravel()
        made = self.found.along(out, axis)
        if made is None:
            made = self.put(
                out, Rows(ids.reshape([-1 if a == axis else 1 for a in range(len(self.program.shapes[out]))]))
            )
        self.same.append((ids, self.found.at(made).ids.ravel()))
        self.link(index, place, made)

    def mix(
        self, index: int, node: NodeProto, place: Place, rows: Rows, letters: Sequence[str], made: Sequence[str]
    ) -> None:
        """An op mixes rows of an operand: all are needed, but for those that a softmax or a mean could do without.

        Args:
            index: of the node.
            node: the node.
            place: of the rows.
            rows: them.
            letters: of the operand, if it is the first one.
            made: letters of the output.
        """
        out, line = node.output[0], rows.line
        if line is not None and letters.count(OPAQUE) == 1 and key(node) in {"Softmax", *MEANS}:
            self.found.mixers[index] = Mixer(index, out, node.input[0], rows.axes[0], line)
            self.found.mixed.setdefault(index, []).append((place, index))
            if key(node) == "Softmax":
                self.put(out, Rows(rows.ids, mixer=index))
            return
        self.need(index, place, rows.ids)
        shape = self.program.shapes[out]
        if line is not None and len(letters) == len(made) and shape[rows.axes[0]] == line.size:
            self.found.always.append((self.put(out, Rows(rows.ids)), rows.ids))

    def sum(self, index: int, entries: list[tuple[int, Place, Rows]]) -> None:
        """Rows that are summed up: of those with the weights of a softmax only what it weighs."""
        weights = [entry for entry in entries if entry[2].mixer is not None]
        if len(entries) == 2 and len(weights) == 1:
            mixer = weights[0][2].mixer
            assert mixer is not None
            self.same.append((entries[0][2].ids.ravel(), entries[1][2].ids.ravel()))
            self.found.mixed.setdefault(index, []).extend((place, mixer) for _, place, _ in entries)
            self.found.sums[mixer] = index
            return
        for _, place, rows in entries:
            self.need(index, place, rows.ids)

    def attend(self, index: int, node: NodeProto, entries: list[tuple[int, Place, Rows]]) -> None:
        """Attention in one op: a mixer itself, of keys, values and their masks; constants among these have own rows."""
        having = {slot for slot, _, _ in entries}
        for slot, name in enumerate(node.input):
            shape = self.program.shapes[name] if slot and name else ()
            axis = len(shape) - (1 if slot == MASK else 2)
            if slot in having or not shape or shape[axis] == 1:
                continue
            if name not in self.program.constants:  # it cannot lose what the others lose
                for _, place, rows in entries:
                    self.need(index, place, rows.ids)
                return
            ids = self.fresh([size if place == axis else 1 for place, size in enumerate(shape)])
            entries.append((slot, self.put((index, slot), Rows(ids)), Rows(ids)))
        name, line = node.input[1], entries[0][2].ids.ravel()
        self.same += [(line, rows.ids.ravel()) for _, _, rows in entries[1:]]
        self.found.mixers[index] = Mixer(index, node.output[0], name, len(self.program.shapes[name]) - 2, line)
        self.found.mixed.setdefault(index, []).extend((place, index) for _, place, _ in entries)
        self.found.sums[index] = index
