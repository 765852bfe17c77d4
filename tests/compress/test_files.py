from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import UserError
from compress.files import atomic, check_writable, staged, write_bytes, write_text


@given(old=st.none() | st.binary(), new=st.binary(), error=st.sampled_from([None, KeyboardInterrupt, ValueError]))
def test_whole_or_nothing(
    old: bytes | None, new: bytes, error: type[BaseException] | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("atomic")
    path = folder / "file.bin"
    if old is not None:
        path.write_bytes(old)

    def write() -> None:
        with atomic(path) as temporary:
            temporary.write_bytes(new)
            if error:
                raise error

    if error:
        with pytest.raises(error):
            write()
    else:
        write()
    expected = old if error else new
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == ({} if expected is None else {"file.bin": expected})


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_new_files_follow_the_umask_and_old_ones_keep_their_mode(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "new", "text")
        (tmp_path / "old").touch(0o600)
        write_text(tmp_path / "old", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o600


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/file")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder/file").read_text() == "text"


def test_a_pipe_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    check_writable(pipe)
    write_bytes(pipe, b"content")
    reader.join(10)
    assert received == [b"content"]
    assert pipe.is_fifo()
    with pytest.raises(UserError, match="no regular file"), staged(pipe):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("write", [lambda path: write_text(path, "x"), check_writable], ids=["write", "check"])
@pytest.mark.parametrize(
    ("place", "reason"),
    [("folder", "folder"), ("file/below", "not a folder"), ("file/be/low", "not a folder")],
)
def test_places_that_cannot_be_written(write: Callable[[Path], None], place: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UserError, match=f"cannot write .*{place}: .*{reason}"):
        write(tmp_path / place)
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"old": "old"}


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_staged_files_move_together(error: type[BaseException] | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("old")

    def write() -> None:
        with staged(path) as trial:
            assert trial.name == path.name
            trial.write_text("new")
            (trial.parent / "model.onnx.data").write_text("weights")
            if error:
                raise error

    if error:
        with pytest.raises(error):
            write()
    else:
        write()
    found = {each.name: each.read_text() for each in tmp_path.iterdir()}
    assert found == ({"model.onnx": "old"} if error else {"model.onnx": "new", "model.onnx.data": "weights"})
