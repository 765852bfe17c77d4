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
    session: Session, *, batch: int = 2, seed: int = 0, dims: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """Random inputs: floats are standard normal, uint8 are 0..255, other integers and booleans are 0 or 1.

    (0 and 1 are valid as token ids, masks and indices alike.) A dynamic size is what ``dims`` says; else
    ``batch`` where it leads an input or has the name of one that does; else 64 in inputs of 4 or more axes,
    such as images, and 512 in smaller ones, such as sequences.

    Args:
        session: the model to feed.
        batch: the size of dynamic leading axes.
        seed: of the random generator; equal seeds give equal inputs.
        dims: sizes of dynamic axes by name, such as ``{"height": 320}``; an axis without a name is called
            ``input:axis``, such as ``x:2``.

    Raises:
        SessionError: an input is not a tensor of numbers, or ``dims`` has a name that no dynamic axis has.
    """
    labels = [[_label(value, axis) for axis in range(len(value.shape))] for value in session.inputs]
    sizes: dict[int | str, int] = {each[0]: batch for each in labels if each}
    for each in labels:
        for label in each:
            sizes.setdefault(label, IMAGE_SIZE if len(each) > 3 else SEQUENCE_SIZE)
    sizes.update({label: label for label in sizes if isinstance(label, int)})
    for name, size in (dims or {}).items():
        if name not in sizes:
            dynamic = ", ".join(label for label in sizes if isinstance(label, str)) or "none"
            raise SessionError(f"{session.name} has no dynamic size '{name}'; it has: {dynamic}")
        sizes[name] = size
    generator = np.random.default_rng(seed)
    return {
        value.name: _random(value.dtype, [sizes[label] for label in each], generator)
        for value, each in zip(session.inputs, labels, strict=True)
    }


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
        SessionError: the model has not exactly one input, or one that does not take floats.
    """
    if len(session.inputs) != 1:
        names = ", ".join(value.name for value in session.inputs)
        raise SessionError(f"{session.name} has {len(session.inputs)} inputs ({names}): data can feed only one")
    (value,) = session.inputs
    if value.dtype.kind != "f":
        raise SessionError(f"{session.name} takes {value.dtype} at '{value.name}', and data comes as float32")
    fixed = batch_size(session)
    for batch in batches:
        size = fixed or max(len(batch), 1)
        for start in range(0, len(batch), size):
            rows = batch[start : start + size].astype(value.dtype, copy=False)
            missing = size - len(rows)
            yield {value.name: np.concatenate([rows, *[rows[-1:]] * missing]) if missing else rows}, len(rows)


def _label(value: Value, axis: int) -> int | str:
    """The size of a fixed axis or the name of a dynamic one; several exporters write '?' for "no name"."""
    dim = value.shape[axis]
    return f"{value.name}:{axis}" if dim in (None, "", "?") else dim


def _random(dtype: np.dtype[Any], shape: Sequence[int], generator: np.random.Generator) -> Array:
    if dtype.kind in "fc":
        return np.asarray(generator.standard_normal(shape)).astype(dtype)
    return np.asarray(generator.integers(0, 256 if dtype == np.uint8 else 2, shape)).astype(dtype)
