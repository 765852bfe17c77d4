"""Files are written beside and renamed: a crash never leaves half a file."""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compress.errors import UserError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file that replaces ``path`` if the block ends well and vanishes if it does not.

    A link is followed, and what is no regular file (a pipe, /dev/stdout) is written to, never replaced.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = _temporary(path)
    try:
        with explained(path):
            yield temporary
            if _is_special(path):
                with temporary.open("rb") as source, path.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
            else:
                target = Path(os.path.realpath(path))
                temporary.chmod(_mode(target))
                temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """``path`` in a folder of its own beside; what is written there moves out if the block ends well.

    For models: their weights may lie in further files, to which they refer by name.

    Raises:
        UserError: the folder cannot be written, or ``path`` is no regular file.
    """
    target = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is no regular file")
    with explained(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{path.name[:64]}.")
    with scratch as folder:
        yield Path(folder, target.name)
        with explained(path):
            for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == target.name):
                file.replace(target.parent / file.name)  # the model itself comes last


def check_writable(path: Path) -> None:
    """Find out before long work whether its result can be written; what is at ``path`` stays as it is.

    Raises:
        UserError: it is a folder, or in one that cannot be written.
    """
    _temporary(path).unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        UserError: there is none, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error


def _temporary(path: Path) -> Path:
    """A new file beside ``path``, so that a rename suffices; anywhere if there will be no rename."""
    with explained(path):
        if path.is_dir():
            raise UserError(f"cannot write {path}: it is a folder")
        folder = None
        if not _is_special(path):
            folder = Path(os.path.realpath(path)).parent
            folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{path.name[:64]}.")
        os.close(handle)
    return Path(name)


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _mode(path: Path) -> int:
    """Permissions of the file that is replaced, or of a new one; those of mkstemp are for its owner only."""
    if path.exists():
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Tell the user what the operating system refuses in the block, under the name ``path`` and no scratch file's.

    Raises:
        UserError: instead of any OSError.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"cannot write {path}: a part of its path is a file, not a folder") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
