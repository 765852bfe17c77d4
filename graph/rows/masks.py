"""A copy of a model that takes as data which rows its mixers look at: the same as removing the others, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from graph.files.copies import complete, skeleton
from graph.model.evaluate import Array
from graph.model.nodes import key
from graph.rewriting.tidy import keep as keep_entries
from graph.rewriting.write import names_taken, unused
from graph.rows.alone import MASK
from graph.rows.facts import Mixer, RowTrace
from graph.rows.needs import Keep
from graph.values import Mask

FAR = -3e4  #: added to a score it makes a weight of zero, also in half precision


@dataclass(frozen=True)
class Slot:
    """Where the mask of a mixer goes: an input of the copy.

    It is added to scores, is combined with the mask that attention has (``And`` if that is boolean, or there is none),
    or multiplies what is averaged.
    """

    name: str
    mixer: Mixer
    op: str
    axis: int
    shape: list[int]
    dtype: np.dtype[Any]

    def mask(self, kept: Mask) -> Array:
        """What it is fed with if the mixer keeps these indices [indices, bool], of which there is one at least."""
        kept = np.isin(self.mixer.rows, self.mixer.rows[kept])
        found = {"Add": np.where(kept, 0, FAR), "And": kept, "Mul": kept * (kept.size / kept.sum())}[self.op]
        line = [kept.size if axis == self.axis else 1 for axis in range(len(self.shape))]
        return np.array(np.broadcast_to(found.reshape(line), self.shape), self.dtype)


@dataclass(frozen=True)
class Masked:
    """The copy, and its new inputs."""

    model: ModelProto
    slots: list[Slot]

    def feeds(self, keep: Keep) -> dict[str, Array]:
        """What the new inputs are fed with."""
        whole = {slot.name: np.ones(slot.mixer.rows.size, np.bool_) for slot in self.slots}
        return {slot.name: slot.mask(keep.get(slot.mixer.name, whole[slot.name])) for slot in self.slots}

    def fixed(self, keep: Keep) -> ModelProto:
        """The copy with these masks as constants in place of inputs."""
        model = ModelProto()
        model.CopyFrom(self.model)
        feeds = self.feeds(keep)
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in feeds.items())
        keep_entries(model.graph.input, lambda value: value.name not in feeds)
        return model


def masked(trace: RowTrace) -> Masked:
    """Add masks to scores before their softmax, to attention, and multiply rows by weights before their mean."""
    program = trace.program
    model = skeleton(program.model)
    graph, nodes, taken = model.graph, program.matching(model.graph), names_taken(model.graph)
    kinds = (program.constants[name].dtype for name in program.constants)
    dtype = next((kind for kind in kinds if kind.kind == "f"), np.dtype(np.float32))
    boolean = _boolean(model)
    slots: list[Slot] = []
    for mixer in trace.mixers.values():
        node = nodes[mixer.node]
        name, out = (unused(f"{mixer.name}_{what}", taken) for what in ("mask", "masked"))
        at, op = 0, "Add" if key(node) == "Softmax" else "Mul"
        shape = [mixer.rows.size if axis == mixer.axis else 1 for axis in range(len(program.shapes[mixer.tensor]))]
        axis, kind = mixer.axis, dtype
        if key(node) == "Attention":
            at, axis, shape = MASK, 1, [program.shapes[node.input[0]][-2], mixer.rows.size]  # it does not broadcast
            node.input.extend([""] * (MASK + 1 - len(node.input)))
            op, kind = ("And", np.dtype(np.bool_)) if node.input[at] in boolean | {""} else ("Add", dtype)
        slots.append(Slot(name, mixer, op, axis, shape, kind))
        graph.input.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), shape))
        if node.input[at]:
            place = next(place for place, other in enumerate(graph.node) if other.output == node.output)
            graph.node.insert(place, helper.make_node(op, [node.input[at], name], [out], name=out))
        node.input[at] = out if node.input[at] else name
    return Masked(complete(model, program.model), slots)


def _boolean(model: ModelProto) -> set[str]:
    """The tensors that are, if any attention could have one for a mask."""
    if not any(key(node) == "Attention" for node in model.graph.node):
        return set()
    found = infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*found.value_info, *found.input]}
    kinds |= {tensor.name: tensor.data_type for tensor in found.initializer}
    return {name for name, kind in kinds.items() if kind == TensorProto.BOOL}
