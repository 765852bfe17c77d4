"""A copy of a model that takes as data which rows its mixers look at: the same as removing the others, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from graph.copies import complete, skeleton
from graph.evaluate import Array
from graph.nodes import key
from graph.rows.facts import Mixer, RowTrace
from graph.rows.needs import Keep
from graph.tidy import keep as keep_entries
from graph.values import Mask
from graph.write import names_taken, unused

FAR = -3e4  #: added to a score it makes a weight of zero, also in half precision


@dataclass(frozen=True)
class Slot:
    """Where the mask of a mixer goes: an input of the copy, that is added to scores or multiplies what is averaged."""

    name: str
    mixer: Mixer
    op: str
    shape: list[int]
    dtype: np.dtype[Any]

    def mask(self, kept: Mask) -> Array:
        """What it is fed with if the mixer keeps these indices [indices, bool], of which there is one at least."""
        kept = np.isin(self.mixer.rows, self.mixer.rows[kept])
        weights = np.where(kept, 0, FAR) if self.op == "Add" else kept * (kept.size / kept.sum())
        return weights.astype(self.dtype).reshape(self.shape)


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
    """Add masks to scores before their softmax, and multiply rows by weights before their mean."""
    program = trace.program
    model = skeleton(program.model)
    graph, nodes, taken = model.graph, program.matching(model.graph), names_taken(model.graph)
    kinds = (program.constants[name].dtype for name in program.constants)
    dtype = next((kind for kind in kinds if kind.kind == "f"), np.dtype(np.float32))
    slots: list[Slot] = []
    for mixer in trace.mixers.values():
        node = nodes[mixer.node]
        name, out = (unused(f"{mixer.name}_{what}", taken) for what in ("mask", "masked"))
        shape = [mixer.rows.size if axis == mixer.axis else 1 for axis in range(len(program.shapes[mixer.tensor]))]
        slots.append(Slot(name, mixer, "Add" if key(node) == "Softmax" else "Mul", shape, dtype))
        graph.input.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape))
        place = next(place for place, other in enumerate(graph.node) if other.output == node.output)
        graph.node.insert(place, helper.make_node(slots[-1].op, [mixer.tensor, name], [out], name=out))
        node.input[0] = out
    return Masked(complete(model, program.model), slots)
