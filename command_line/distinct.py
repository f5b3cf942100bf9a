"""No file is overwritten that is read, or written twice."""

from collections.abc import Iterable
from pathlib import Path


def check_distinct(written: Iterable[Path], read: Iterable[Path | None]) -> None:
    """Raise ValueError if an output would overwrite what is read, or another output.

    Args:
        written: files that will be written; they need not exist.
        read: files that are read; None where none was given.
    """
    taken = {_key(path) for path in read if path is not None}
    for path in written:
        if _key(path) in taken:
            raise ValueError(f"{path} is an input or named twice: choose another file to write")
        taken.add(_key(path))


def _key(path: Path) -> object:
    """What tells a file from others, through links and hard links."""
    try:
        status = path.stat()
        return status.st_dev, status.st_ino
    except OSError:
        return path.resolve()
