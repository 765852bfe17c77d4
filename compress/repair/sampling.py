"""What a layer reads and what it shall make, at random places of its output, in two halves that share no sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from compress.repair.layer import Layer, Matrix
from runtime.session import Array

CHUNK = 2**22  # elements of features at a time
FOLDS = 2


def sampled(
    layer: Layer, weight: Array, pairs: Iterable[tuple[Array, Array]], samples: Sequence[int], wanted: int, seed: int
) -> Iterator[tuple[int, Matrix, Matrix]]:
    """Chunks of all places, with the number of their half: every second sample is of the first one.

    Args:
        layer: the layer.
        weight: its weight.
        pairs: per batch, what it reads and what it shall make, in the shape of its output.
        samples: in each batch.
        wanted: how many places in all batches, or all if there are fewer.
        seed: of the places.

    Returns:
        An iterator over the half, inputs [groups, n, features + 1] and outputs [groups, n, outputs of one group].
    """
    generator = np.random.default_rng(seed)
    starts = np.cumsum([0, *samples])
    each = -(-wanted // len(samples))
    step = max(CHUNK // (layer.features * layer.groups), 1)
    for (data, target), start, size in zip(pairs, starts, samples, strict=False):
        total = layer.places(target)
        chosen = np.sort(generator.choice(total, each, replace=False)) if each < total else np.arange(total)
        half = (start + chosen * size // total) % FOLDS
        for number in range(FOLDS):
            own = chosen[half == number]
            for first in range(0, own.size, step):
                places = own[first : first + step]
                x, y = layer.inputs(data, weight, places), layer.made(target, places)
                yield number, x.astype(np.float64), y.astype(np.float64)
