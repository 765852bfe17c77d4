"""The same model written down in other ways; exporters differ in nothing more than in these."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, helper, numpy_helper, version_converter

from graph.model.program import captured

Disguise = Callable[[ModelProto, np.random.Generator], None]

DISGUISES: list[Disguise] = []


def disguise(function: Disguise) -> Disguise:
    """Decorator that files a function which rewrites a model in place."""
    DISGUISES.append(function)
    return function


@disguise
def plain(model: ModelProto, rng: np.random.Generator) -> None:
    """Nothing is rewritten."""


@disguise
def constant_nodes(model: ModelProto, rng: np.random.Generator) -> None:
    """Weights as Constant nodes."""
    for tensor in list(model.graph.initializer):
        if rng.random() < 0.7:
            model.graph.initializer.remove(tensor)
            model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))


@disguise
def inputs(model: ModelProto, rng: np.random.Generator) -> None:
    """Weights as inputs, as it used to be."""
    model.ir_version = 3
    model.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in model.graph.initializer
    )


@disguise
def merged(model: ModelProto, rng: np.random.Generator) -> None:
    """Equal tensors stored once."""
    first: dict[tuple[object, ...], str] = {}
    names: dict[str, str] = {}
    kept = {name for node in model.graph.node for name in captured(node)}
    for tensor in list(model.graph.initializer):
        content = tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()
        if tensor.name not in kept and first.setdefault(content, tensor.name) != tensor.name:
            names[tensor.name] = first[content]
            model.graph.initializer.remove(tensor)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


@disguise
def computed(model: ModelProto, rng: np.random.Generator) -> None:
    """Weights that are computed from others: transposed, or looked at through an Identity."""
    for tensor in list(model.graph.initializer):
        if tensor.data_type != 1 or rng.random() < 0.5:
            continue
        stored = f"{tensor.name}_stored"
        if len(tensor.dims) == 4 and rng.random() < 0.5:
            array = numpy_helper.to_array(tensor).transpose(3, 2, 1, 0)
            node = helper.make_node("Transpose", [stored], [tensor.name], perm=[3, 2, 1, 0])
        else:
            array, node = numpy_helper.to_array(tensor), helper.make_node("Identity", [stored], [tensor.name])
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), stored))
        model.graph.node.insert(0, node)


@disguise
def function(model: ModelProto, rng: np.random.Generator) -> None:
    """Some nodes in a row as a function of the model."""
    nodes = list(model.graph.node)
    start = int(rng.integers(len(nodes)))
    body = nodes[start : start + int(rng.integers(1, 6))]
    made = [name for node in body for name in node.output if name]
    read = [name for node in body for name in [*node.input, *captured(node)] if name]
    into = list(dict.fromkeys(name for name in read if name not in made))
    later = {name for node in nodes for name in [*node.input, *captured(node)] if node not in body}
    later |= {value.name for value in model.graph.output}
    out = [name for name in made if name in later]
    model.functions.append(helper.make_function("local", "Part", into, out, body, list(model.opset_import)))
    model.opset_import.append(helper.make_opsetid("local", 1))
    for node in body:
        model.graph.node.remove(node)
    model.graph.node.insert(start, helper.make_node("Part", into, out, domain="local"))


@disguise
def bare(model: ModelProto, rng: np.random.Generator) -> None:
    """Without declared shapes, and with the long name of the default domain."""
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.ClearField("name")


@disguise
def older(model: ModelProto, rng: np.random.Generator) -> None:
    """At an older opset, where onnx can convert the model."""
    try:
        model.CopyFrom(version_converter.convert_version(model, int(rng.choice([13, 15, 17, 18]))))
    except Exception:  # no adapter, or one that is wrong
        return
