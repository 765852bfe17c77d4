"""What convolutions see: the elements of the input that one place of the output is a sum over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import NodeProto

from graph.model.nodes import attributes, key
from runtime.session import Array

Places = NDArray[np.int64]
Sizes = Sequence[int]


def windows(node: NodeProto, data: Array, kernel: Sizes, places: Places) -> Array:
    """What a Conv or ConvTranspose sees at some places [n] of its output, in order: [n, channels * kernel].

    A ConvTranspose is a Conv that steps by 1 over its input with zeros in between, its kernel turned around.
    """
    attribute, rank = attributes(node), len(kernel)
    strides, dilations = attribute.get("strides", [1] * rank), attribute.get("dilations", [1] * rank)
    extents = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    transposed = key(node) == "ConvTranspose"
    if transposed:
        pads = transposed_pads(attribute, extents)
        data, strides = _spread(data, strides), [1] * rank
    else:
        pads = _pads(attribute, data.shape[2:], extents, strides)
    seen = sliding_window_view(np.pad(data, [(0, 0), (0, 0), *pads]), extents, tuple(range(2, 2 + rank)))
    steps = (slice(None, None, step) for step in strides)
    taps = (slice(None, None, -step if transposed else step) for step in dilations)
    seen = np.moveaxis(seen[(slice(None), slice(None), *steps, *taps)], 1, rank + 1)
    return seen[np.unravel_index(places, seen.shape[: rank + 1])].reshape(places.size, -1)


def transposed_pads(attribute: Mapping[str, Any], extents: Sizes) -> list[tuple[int, int]]:
    """Zeros before and after every inner axis of a ConvTranspose that has zeros in between; below 0: it is cut."""
    rank = len(extents)
    pads, more = attribute.get("pads") or [0] * 2 * rank, attribute.get("output_padding") or [0] * rank
    ends = zip(pads[:rank], pads[rank:], extents, more, strict=True)
    return [(extent - 1 - first, extent - 1 - last + extra) for first, last, extent, extra in ends]


def _spread(data: Array, strides: Sizes) -> Array:
    """``data`` with zeros between its elements."""
    inner = [(size - 1) * step + 1 for size, step in zip(data.shape[2:], strides, strict=True)]
    spread = np.zeros((*data.shape[:2], *inner), data.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, step) for step in strides))] = data
    return spread


def _pads(attribute: Mapping[str, Any], sizes: Sizes, extents: Sizes, strides: Sizes) -> list[tuple[int, int]]:
    """Zeros before and after every inner axis of a Conv."""
    kind = attribute.get("auto_pad", b"NOTSET")
    if kind in (b"SAME_UPPER", b"SAME_LOWER"):
        totals = [
            max((-(-size // step) - 1) * step + extent - size, 0)
            for size, extent, step in zip(sizes, extents, strides, strict=True)
        ]
        halves = [(total // 2, total - total // 2) for total in totals]
        return halves if kind == b"SAME_UPPER" else [(after, before) for before, after in halves]
    given = attribute.get("pads") if kind == b"NOTSET" else None
    flat = given or [0] * 2 * len(sizes)
    return list(zip(flat[: len(sizes)], flat[len(sizes) :], strict=True))
