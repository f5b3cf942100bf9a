"""No file is overwritten that is read, or written twice."""

from collections.abc import Iterable
from pathlib import Path


def check_distinct(paths: Iterable[Path]) -> None:
    """Raise ValueError if an output would overwrite an input or another output."""
    seen = set()
    for path in paths:
        try:
            status = path.stat()
            key = (status.st_dev, status.st_ino)
        except OSError:
            key = path.resolve()
        if key in seen:
            raise ValueError(f"{path} is an input or named twice: choose another file to write")
        seen.add(key)
