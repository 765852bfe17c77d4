"""Constant tensors: decoded when they are asked for, and kept only while they are small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto, TypeProto, helper, numpy_helper

from graph.errors import ModelError
from graph.model.evaluate import Array
from graph.model.nodes import label
from graph.model.shapes import tensor_type

Stored = TensorProto | SparseTensorProto

NUMBERS: dict[int, type] = dict.fromkeys((AttributeProto.FLOAT, AttributeProto.FLOATS), np.float32)
NUMBERS |= dict.fromkeys((AttributeProto.INT, AttributeProto.INTS), np.int64)

LARGE = 2**13  # bytes; of what is larger only the latest is kept: a model over 2 GiB must not lie in memory twice


class Constants(Mapping[str, Array]):
    """Constant tensors by name: those of a file, and those that were computed from them."""

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}
        self._decoded: dict[str, Array] = {}
        self._latest: tuple[str, Array] | None = None

    def __getitem__(self, name: str) -> Array:
        if name in self._decoded:
            return self._decoded[name]
        if self._latest is not None and self._latest[0] == name:
            return self._latest[1]
        self._latest = None  # before the next one takes its place in memory
        value = _decode(name, self._stored[name])
        if value.nbytes < LARGE:
            self._decoded[name] = value
        else:
            self._latest = name, value
        return value

    def __setitem__(self, name: str, value: Array | Stored) -> None:
        if isinstance(value, np.ndarray):
            self._decoded[name] = value
        else:
            self._stored[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._decoded or name in self._stored

    def __iter__(self) -> Iterator[str]:
        return iter({**self._stored, **self._decoded})

    def __len__(self) -> int:
        return len({**self._stored, **self._decoded})

    def share(self, other: Constants, names: Iterable[str]) -> None:
        """Take over those of ``names`` that ``other`` has."""
        for name in names:
            if name in other._stored:
                self._stored[name] = other._stored[name]
            if name in other._decoded:
                self._decoded[name] = other._decoded[name]


def constant_of(node: NodeProto) -> Array | Stored:
    """The value of a Constant node.

    Raises:
        ModelError: it has none.
    """
    if not node.attribute:
        raise ModelError(f"node {label(node)} has no value; export the model again")
    entry = node.attribute[0]
    if entry.type == AttributeProto.TENSOR:
        return entry.t
    if entry.type == AttributeProto.SPARSE_TENSOR:
        return entry.sparse_tensor
    return np.array(helper.get_attribute_value(entry), NUMBERS.get(entry.type, np.object_))


def type_of(value: Array | Stored) -> TypeProto:
    """The type of a constant, without decoding it.

    Raises:
        ModelError: its elements are of a type that onnx does not know.
    """
    if isinstance(value, np.ndarray):
        return tensor_type(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
    tensor = value.values if isinstance(value, SparseTensorProto) else value
    if tensor.data_type not in TensorProto.DataType.values()[1:]:
        raise ModelError(f"constant '{tensor.name}' has elements of type {tensor.data_type}, which onnx does not know")
    return tensor_type(tensor.data_type, value.dims)


def _decode(name: str, stored: Stored) -> Array:
    try:
        if isinstance(stored, TensorProto):
            return numpy_helper.to_array(stored)
        return _dense(numpy_helper.to_array(stored.values), numpy_helper.to_array(stored.indices), tuple(stored.dims))
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise ModelError(f"constant '{name}' cannot be read: {error}; export the model again") from error


def _dense(values: Array, indices: Array, shape: tuple[int, ...]) -> Array:
    """A sparse tensor with everything that it leaves out; indices are [n] into the flat tensor, or [n, rank]."""
    dense = np.zeros(shape, values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense
