"""TOML files that people write: one way to read them."""

import sys
from pathlib import Path
from typing import Any

from .reading import reading

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 1_000_000


def parse_toml(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """The tables of a file of at most `MOST_BYTES`, unchecked.

    Raises: FileError if it cannot be read.
    """
    with reading(path, what, remedy):
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
