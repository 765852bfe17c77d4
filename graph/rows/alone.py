"""What an op does to rows, where the tables of channels say less: the positions that it treats one by one."""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from graph.model.nodes import attributes, key
from graph.model.program import Program
from graph.tracing.rules import signature, single
from graph.tracing.signature import OPAQUE, Signature

MASK = 3  # the slot of Attention's mask
KEYS = "t"  # its letter for what attention looks at


def rowwise(program: Program, node: NodeProto) -> Signature | None:
    """The signature of ``node``, with letters for rows; None as from `signature`."""
    if key(node) == "Attention":
        return _attention(program, node)
    found = signature(program, node)
    if found is None:
        return None
    attribute = attributes(node)
    conv = key(node) == "Conv" and set(attribute.get("kernel_shape", [0])) == {1}
    if key(node) == "BatchNormalization" or (
        conv and set(attribute.get("strides", [1])) == {1} and not any(attribute.get("pads", []))
    ):
        (data, *rest), (out, *_) = found.operands, found.outputs
        return replace(found, operands=(_apart(data), *rest), outputs=(_apart(out),))
    if key(node) == "Gather":  # an embedding: every index is looked up by itself
        (data, indices), (out,) = found.operands, found.outputs
        axis = attribute.get("axis", 0) % len(data)
        places = _apart(indices)
        return Signature((data, places), ((*out[:axis], *places, *out[axis + len(places) :]),))
    return found


def _apart(axes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"position{axis}" if letter == OPAQUE else letter for axis, letter in enumerate(axes))


def _attention(program: Program, node: NodeProto) -> Signature | None:
    """Rows of queries come out, those of keys and values are mixed; None with a cache, windows or two kinds of masks.

    Heads are an axis, or packed with their dimensions.
    """
    if not single(node) or any(node.input[MASK + 1 :]) or not program.shapes.keys() >= set(filter(None, node.input)):
        return None
    attribute, (queries, keys) = attributes(node), (program.shapes[name] for name in node.input[:2])
    mask = program.shapes[node.input[MASK]] if len(node.input) > MASK and node.input[MASK] else ()
    open_axes = any(axis > 0 for name in node.input[:2] for axis in program.dynamic.get(name, {}))
    if (
        any(attribute.get(f"{side}_window_size", -1) != -1 for side in ("left", "right"))
        or (attribute.get("is_causal", 0) and (mask or open_axes))
        or (mask and mask[-1] != keys[-2])  # shorter: the rest is masked
    ):
        return None
    side = (OPAQUE,) * (len(queries) - 2)
    made, looked_at = (*side, "s", OPAQUE), (*side, KEYS, OPAQUE)
    weights = (OPAQUE, OPAQUE, "s", KEYS)[4 - len(mask) :]
    return Signature((made, looked_at, looked_at, weights)[: len(node.input)], (made,))
