from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from runtime.errors import SessionError
from runtime.npz import read_npy, read_npz

LIMIT = 10**6


def npz(save=np.savez, **named) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **named)
    return buffer.getvalue()


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(content: bytes, compression=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("x.npy", content)
    return buffer.getvalue()


def refused(data: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(SessionError) as caught:
        read_npz(data, "f.npz", limit)
    assert "f.npz" in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


PLAIN = st.one_of(scalar_dtypes(), st.just(np.dtype("<U5"))).filter(lambda dtype: dtype.kind not in "mM")


@given(PLAIN.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, min_side=0))), st.booleans())
def test_what_numpy_wrote_is_read(array, fortran):
    array = np.asfortranarray(array) if fortran else array
    for save in (np.savez, np.savez_compressed):
        found = read_npz(npz(save, **{"a/b:c": array, "z": array}), "f.npz", LIMIT)
        assert found.keys() == {"a/b:c", "z"}
        assert found["z"].dtype == array.dtype
        np.testing.assert_array_equal(found["a/b:c"], array)


def test_python_objects_are_not_read():
    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit('it ran')",)

    bomb = np.array([Bomb()], dtype=object)
    assert "Python objects" in refused(npz(x=bomb))
    with pytest.raises(SessionError, match="Python objects"):
        read_npy(npy(bomb), "f.npy")


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked():
    bomb = npz(np.savez_compressed, x=np.zeros(10 * LIMIT, np.uint8))
    assert len(bomb) < LIMIT / 10
    assert "unpacks to" in refused(bomb)


def test_an_archive_that_lies_about_its_size_is_damaged():
    content = npy(np.zeros(10 * LIMIT, np.uint8))
    honest, size = zipped(content), struct.pack("<I", len(content))
    assert honest.count(size) == 2
    refused(honest.replace(size, struct.pack("<I", 1000)))
    many = zipped(npy(np.zeros(3)), zipfile.ZIP_STORED)
    refused(many.replace(struct.pack("<I", len(npy(np.zeros(3)))), struct.pack("<I", 0xFFFFFFF0)))


def header(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_a_header_that_claims_more_than_is_there_is_damaged():
    content = bytes(16)
    assert read_npy(header("(16,)") + content, "f.npy").shape == (16,)
    for shape in ("(17,)", "(15,)", "(10**13,)", "(10000000000000,)", "(-4, -4)", "(16", "16", "[16]", "(" * 50):
        refused(zipped(header(shape) + content))
    real = npy(np.zeros(16, np.uint8))
    for wrong in (real[:-1], real + b"x", b"", b"\x93NUMPY\x07\x00", real[:40]):
        refused(zipped(wrong))


@given(st.binary(max_size=200))
def test_anything_else_is_refused_in_one_line(data):
    refused(data)
    refused(zipped(data))
    with pytest.raises(SessionError):
        read_npy(data, "f.npy")
