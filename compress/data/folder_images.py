"""Labelled images on disk, decoded when they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.data import views
from compress.data.spec import Spec

AHEAD = 2  # batches that are decoded while the caller works on one


@dataclass(frozen=True, eq=False)
class FolderImages:
    """Labelled images on disk; the same contract as `compress.data.images.Images`.

    Decoding runs in threads, as pillow lets go of the interpreter lock while it decodes and resizes.

    Attributes:
        paths: object array ``[N]`` of files.
        labels: int64 ``[N]``.
    """

    paths: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: np.ndarray) -> FolderImages:
        """The images at ``indices`` (integers or a boolean mask), in that order."""
        return FolderImages(self.paths[indices], self.labels[indices])

    def batches(self, size: int, spec: Spec) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Centre views, in order: normalised float32 ``[n, 3, 224, 224]``, labels ``[n]``, n <= size."""
        for images, labels in self.decode(np.arange(len(self)), size):
            yield spec.normalise(images), labels

    def decode(self, order: np.ndarray, size: int, seed: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of decoded images.

        Args:
            order: indices ``[M]`` of images.
            size: images per batch; the last one may be smaller.
            seed: of random views; an image's view depends on this and its index alone. None: centre views.

        Returns:
            Iterator of uint8 ``[n, 3, 224, 224]`` and int64 labels ``[n]``.

        Raises:
            UserError: a file is not an image.
        """
        pool = ThreadPoolExecutor()
        pending: deque[tuple[np.ndarray, list[Future[np.ndarray]]]] = deque()
        try:
            for start in range(0, len(order), size):
                part = order[start : start + size]
                pending.append((part, [pool.submit(self._view, int(i), seed) for i in part]))
                if len(pending) > AHEAD:
                    yield self._collect(*pending.popleft())
            while pending:
                yield self._collect(*pending.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _view(self, index: int, seed: int | None) -> np.ndarray:
        image = views.read(Path(self.paths[index]))
        if seed is None:
            return views.centre(image)
        return views.random(image, np.random.default_rng((seed, index)))

    def _collect(self, part: np.ndarray, futures: list[Future[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([future.result() for future in futures]), self.labels[part]
