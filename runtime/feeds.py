"""Inputs for a model: random ones of the right shapes, or real ones in the batch size it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from runtime.errors import SessionError
from runtime.session import Array, Session, Value

# Sizes of dynamic axes. 64 is a multiple of 32: the down- and upsampling paths of common networks meet again.
# 512 is the longest text that many transformers take, and more than the window of common audio models.
IMAGE_SIZE, SEQUENCE_SIZE = 64, 512


def random_feeds(
    session: Session,
    *,
    batch: int = 2,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
    given: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Random inputs: floats are standard normal, uint8 are 0..255, other integers and booleans are 0 or 1.

    (0 and 1 are valid as token ids, masks and indices alike.) A dynamic size is what ``dims`` or ``given`` say;
    else ``batch`` where it leads an input or has the name of one that does; else 64 in inputs of 4 or more axes,
    such as images, and 512 in smaller ones, such as sequences.

    Args:
        session: the model to feed.
        batch: the size of dynamic leading axes.
        seed: of the random generator; equal seeds give equal inputs.
        dims: sizes of dynamic axes by name, such as ``{"height": 320}``; an axis without a name is called
            ``input:axis``, such as ``x:2``.
        given: inputs that are not random, by name; a single number fills the whole input.

    Raises:
        SessionError: an input is not a tensor of numbers; ``dims`` has a name that no dynamic axis has; or
            ``given`` has a name that no input has, or a value of another type or shape.
    """
    given = given or {}
    sizes = usual_sizes(session, batch) | fixed_sizes(session, dims or {}, given)
    generator = np.random.default_rng(seed)
    feeds = {}
    for value in session.inputs:
        shape = [sizes[label] if isinstance(label, str) else label for label in _labels(value)]
        if value.name in given:
            array = given[value.name]
            feeds[value.name] = np.array(array if array.ndim else np.broadcast_to(array, shape), order="C")
        elif value.dtype.kind == "U":
            raise SessionError(f"'{value.name}' is a {value.type}: text cannot be made up, give it")
        else:
            feeds[value.name] = _random(value.dtype, shape, generator)
    return feeds


def usual_sizes(session: Session, batch: int) -> dict[str, int]:
    """The size of every dynamic axis by name, where nobody asks for another one."""
    labels = [_labels(value) for value in session.inputs]
    sizes = {each[0]: batch for each in labels if each and isinstance(each[0], str)}
    for each in labels:
        for label in each:
            if isinstance(label, str):
                sizes.setdefault(label, IMAGE_SIZE if len(each) > 3 else SEQUENCE_SIZE)
    return sizes


def fixed_sizes(session: Session, dims: Mapping[str, int], given: Mapping[str, Array]) -> dict[str, int]:
    """The size of every dynamic axis that ``dims`` or ``given`` ask for; errors are those of `random_feeds`."""
    inputs = {value.name: value for value in session.inputs}
    names = usual_sizes(session, 1)
    if unknown := dims.keys() - names.keys():
        there = ", ".join(names) or "none"
        raise SessionError(f"{session.name} has no dynamic size '{min(unknown)}'; it has: {there}")
    fixed = dict(dims)
    for name, array in given.items():
        if name not in inputs:
            raise SessionError(f"{session.name} has no input '{name}'; it has: {', '.join(inputs)}")
        if array.dtype.type is not inputs[name].dtype.type:
            raise SessionError(f"input '{name}' takes a {inputs[name].type}, and {array.dtype} was given")
        fixed |= _sizes_of(array, inputs[name], fixed)
    return fixed


def batch_size(session: Session) -> int | None:
    """The fixed length of the first input's leading axis; None if it is dynamic or there is no batch axis."""
    shape = session.inputs[0].shape if session.inputs else ()
    return shape[0] if len(shape) > 1 and isinstance(shape[0], int) else None


def real_feeds(session: Session, batches: Iterable[Array]) -> Iterator[tuple[dict[str, Array], int]]:
    """Feeds for a model with one input, with the number of rows of each that are real.

    A model of a fixed batch size is fed in pieces of that size, the last one filled up with its last row.

    Args:
        session: the model to feed.
        batches: arrays [n, ...] of any n.

    Raises:
        SessionError: the model has not exactly one input, or that takes other shapes, or neither floats nor what the
            batches are.
    """
    if len(session.inputs) != 1:
        names = ", ".join(value.name for value in session.inputs)
        raise SessionError(f"{session.name} has {len(session.inputs)} inputs ({names}): data can feed only one")
    (value,) = session.inputs
    fixed = batch_size(session)
    for batch in batches:
        if value.dtype.kind != "f" and value.dtype != batch.dtype:
            raise SessionError(f"{session.name} takes {value.dtype} at '{value.name}', and data comes as {batch.dtype}")
        if len(batch) and not _takes(value, batch[0].shape):
            shape = ", ".join(["n", *map(str, batch[0].shape)])
            raise SessionError(f"{session.name} takes {value} at '{value.name}', and data comes as [{shape}]")
        size = fixed or max(len(batch), 1)
        for start in range(0, len(batch), size):
            rows = batch[start : start + size].astype(value.dtype, copy=False)
            missing = size - len(rows)
            yield {value.name: np.concatenate([rows, *[rows[-1:]] * missing]) if missing else rows}, len(rows)


def _takes(value: Value, shape: Sequence[int]) -> bool:
    """Whether samples of ``shape`` suit the axes behind the leading one; an input of unknown rank has none."""
    if not value.shape:
        return True
    sizes = value.shape[1:]
    return len(sizes) == len(shape) and all(
        size == found or not isinstance(size, int) for size, found in zip(sizes, shape, strict=True)
    )


def _labels(value: Value) -> list[int | str]:
    """Per axis its size, or the name of a dynamic one; several exporters write '?' for "no name"."""
    labels: list[int | str] = []
    for axis, dim in enumerate(value.shape):
        labels.append(f"{value.name}:{axis}" if dim is None or dim in ("", "?") else dim)
    return labels


def _sizes_of(array: Array, value: Value, fixed: Mapping[str, int]) -> dict[str, int]:
    """The dynamic sizes of an input that is fed with ``array``; none if that is a single number, or of unknown rank."""
    if array.ndim == 0 or not value.shape:
        return {}
    labels = _labels(value)
    wanted = [fixed.get(label, label) if isinstance(label, str) else label for label in labels]
    if len(wanted) != array.ndim or any(
        isinstance(size, int) and size != found for size, found in zip(wanted, array.shape, strict=True)
    ):
        shape = ", ".join(map(str, wanted))
        raise SessionError(f"input '{value.name}' takes [{shape}], and {list(array.shape)} was given")
    return {label: size for label, size in zip(labels, array.shape, strict=True) if isinstance(label, str)}


def _random(dtype: np.dtype[Any], shape: Sequence[int], generator: np.random.Generator) -> Array:
    if dtype.kind in "fc":
        return np.asarray(generator.standard_normal(shape)).astype(dtype)
    return np.asarray(generator.integers(0, 256 if dtype == np.uint8 else 2, shape)).astype(dtype)
