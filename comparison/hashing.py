"""Content hashes: of files, read once as long as they stay as they are, and of descriptions."""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BLOCK = 1 << 20


def file_hash(path: Path) -> str:
    """The SHA-256 of a file. Raises ValueError if it cannot be read."""
    try:
        status = path.stat()
        return _file_hash(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"cannot read {path} ({error.strerror}): check it") from error


@functools.cache
def _file_hash(path: Path, size: int, changed: int) -> str:  # noqa: ARG001 - of the cache
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_hash(path: Path) -> str:
    """The hash of all files of a folder and their names, or of a single file."""
    if not path.is_dir():
        return file_hash(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return description_hash({file.relative_to(path).as_posix(): file_hash(file) for file in files})


def description_hash(description: Mapping[str, Any]) -> str:
    """The hash of what JSON can hold; dates, which TOML has, are taken as their texts."""
    return hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode()).hexdigest()
