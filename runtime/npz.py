"""Read arrays from files that may be meant badly: no pickles, and no more memory than was agreed on."""

from __future__ import annotations

import io
import math
import zipfile
import zlib

import numpy as np

from runtime.errors import SessionError
from runtime.session import Array

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(data: bytes, name: str, limit: int) -> dict[str, Array]:
    """The arrays of an npz archive, by name.

    Args:
        data: the content of the file.
        name: what messages call it.
        limit: bytes that it may unpack to.

    Raises:
        SessionError: it is damaged or no npz file, unpacks to more than ``limit``, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
            if total > limit:
                raise SessionError(f"{name} unpacks to {total:,} bytes, more than the {limit:,} allowed: not read")
            arrays = {}
            for entry in archive.infolist():
                with archive.open(entry) as file:  # by size: read() would unpack whatever the header denies
                    content = file.read(entry.file_size)
                arrays[entry.filename.removesuffix(".npy")] = read_npy(content, f"{name}: {entry.filename}")
            return arrays
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise SessionError(f"{name} is no npz file, or is damaged: write it again with numpy.savez") from error


def read_npy(data: bytes, name: str) -> Array:
    """The array of an npy file, read-only and without a copy; arguments and errors as of `read_npz`."""
    damaged = SessionError(f"{name} is no npy file, or is damaged: write it again with numpy.save")
    stream = io.BytesIO(data)
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # numpy evaluates the header as a Python literal, and so fails in many ways
        raise damaged from error
    if dtype.hasobject:
        raise SessionError(f"{name} holds Python objects, which may run code when they are read: save plain numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise damaged
    return np.ndarray(shape, dtype, buffer=data, offset=stream.tell(), order="F" if fortran else "C")
