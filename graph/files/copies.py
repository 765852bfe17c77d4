"""Copies of a model that leave out the contents of its initializers, which are most of it."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from onnx import ModelProto, TensorProto, helper

from graph.model.nodes import everywhere

CONTENTS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def skeleton(model: ModelProto) -> ModelProto:
    """A copy whose outermost initializers have a name, a type and a shape, but no contents."""
    copy = ModelProto(graph=_fields(model.graph, without="initializer"), **_fields(model, without="graph"))
    for tensor in model.graph.initializer:
        stub = copy.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        stub.metadata_props.extend(tensor.metadata_props)
        if tensor.HasField("doc_string"):
            stub.doc_string = tensor.doc_string
    return copy


def complete(copy: ModelProto, model: ModelProto) -> ModelProto:
    """``copy``, in which initializers without contents get those that they have in ``model``, in place."""
    contents = {tensor.name: tensor for tensor in model.graph.initializer}
    listed = {value.name for value in copy.graph.input}
    for tensor in copy.graph.initializer:
        if _is_empty(tensor) and tensor.name in contents:
            tensor.CopyFrom(contents[tensor.name])
        if copy.ir_version < 4 and tensor.name not in listed:  # files that old list them as inputs, too
            copy.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for body in list(everywhere(copy.graph))[1:] if copy.ir_version < 4 else []:  # which have no such inputs
        for tensor in body.initializer:
            body.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        del body.initializer[:]
    return copy


def _fields(message: Message, without: str) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields() if field.name != without}


def _is_empty(tensor: TensorProto) -> bool:
    return not tensor.HasField("raw_data") and not any(len(getattr(tensor, field)) for field in CONTENTS)
