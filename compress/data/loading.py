"""A data set by name."""

from __future__ import annotations

from pathlib import Path

from compress import reference
from compress.data.source import DATA, Data, Source


def load(name: str, data_dir: Path | None = None, *, seed: int = 0, validation: float = 0.1) -> Data:
    """The data set called ``name``; its images are read when they are first touched.

    Args:
        name: one of `DATA`, or ``module:callable``, which is called with ``data_dir`` if its signature names
            it and returns a `Source`, or a `Data` if it makes its own validation part.
        data_dir: where its files are; None where it needs none.
        seed: of the hold-out; not the seed of training.
        validation: fraction of the training images to hold out.

    Raises:
        UserError: no such data set (the message names the nearest), or its files are missing.
    """
    if ":" not in name:
        source = DATA.get(name)(data_dir)
    else:
        source = reference.call(name, (Source, Data), "a compress.data.Source or Data", data_dir=data_dir)
    return source if isinstance(source, Data) else Data(source, seed=seed, validation=validation)
