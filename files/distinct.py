"""No file is overwritten that is read, written twice, or there already and not named."""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

SEARCHED = 100_000  # files of a folder that is read; a model's has some dozens


def check_distinct(written: Iterable[Path], read: Iterable[Path | None]) -> None:
    """Raise ValueError if an output would overwrite what is read, or another output.

    Args:
        written: files that will be written; they need not exist.
        read: files that are read, and folders of which any file may be; None where none was given.
    """
    files = [(path, _key(path)) for path in written]
    sources = {path: _key(path) for path in read if path is not None}
    taken = set(sources.values())
    for path, key in files:
        if key in taken:
            raise ValueError(f"{path} is an input or named twice: choose another file to write")
        taken.add(key)
    # A file that is not there yet may well be written into a folder that is read.
    existing = {key: path for path, key in files if os.path.exists(path)}
    for folder in (path for path in sources if existing and path.is_dir()):
        for inside in map(_key, _inside(folder)):
            if inside in existing:
                raise ValueError(
                    f"{existing[inside]} is a file of {folder}, which is read: choose another file "
                    "to write"
                )


def check_unnamed(paths: Iterable[Path], force: bool) -> None:
    """Raise ValueError if a file is there whose name the user did not give, unless by force."""
    there = [] if force else [path for path in paths if os.path.lexists(path)]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        are = "are" if more else "is"
        raise ValueError(
            f"{there[0]}{more}, which would be replaced, {are} there already: choose another "
            "name, or allow it with --force"
        )


def _inside(folder: Path) -> Iterator[Path]:
    walk = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return itertools.islice(walk, SEARCHED)


def _key(path: Path) -> object:
    """What tells a file from others, through links and hard links."""
    try:
        status = path.stat()
        return status.st_dev, status.st_ino
    except (OSError, ValueError):
        return os.path.normcase(os.path.realpath(path))
