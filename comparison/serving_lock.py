"""One server a study: two would not know of each other's observers and votes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def serving(folder: Path) -> Iterator[Callable[[str], None]]:
    """Hold a study for one server; the lock goes with the process, however it ends.

    Args:
        folder: the study's.
    Yields: a function to be told where the server is, for whoever comes second.
    Raises: ValueError if another server holds the study.
    """
    note = folder / ".serving"
    lock = FileLock(folder / ".serving.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        where = note.read_text(encoding="utf-8") if note.is_file() else "elsewhere"
        raise ValueError(f"{folder} is served already ({where}): stop that server first") from None
    try:
        note.unlink(missing_ok=True)  # of a server that was killed
        yield lambda url: _write(note, url)
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _write(note: Path, url: str) -> None:
    note.write_text(f"at {url}, process {os.getpid()}", encoding="utf-8")
