"""Whole folders, written beside and renamed like files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from compress.errors import UserError
from compress.files import explained


@contextmanager
def replaced_folder(folder: Path, mark: str) -> Iterator[Path]:
    """An empty folder that takes the place of ``folder`` if the block ends well and vanishes if it does not.

    Args:
        folder: nothing so far, an empty folder, or one that holds a file called ``mark``, which shows that this
            tool wrote it.
        mark: the name of that file.

    Raises:
        UserError: there is something else, or it cannot be written.
    """
    target = folder.resolve()
    check_replaceable(folder, mark)
    with explained(folder):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = TemporaryDirectory(dir=target.parent, prefix=f".{target.name[:64]}.")
    with beside as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        yield new
        if target.exists():
            target.rename(Path(scratch, "old"))
        new.rename(target)


def check_replaceable(folder: Path, mark: str) -> None:
    """Refuse to replace what this tool did not write; arguments and errors as of `replaced_folder`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"cannot write {folder}: it is a file, not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise UserError(f"cannot write {folder}: it holds something else than a bundle; choose another folder")
