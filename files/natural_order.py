"""The order of names as people count: 2 before 10."""

import re
from collections.abc import Iterable
from pathlib import Path

Key = tuple[tuple[tuple[str, int, str], ...], str]


def natural(name: str) -> Key:
    """What to sort names by, so that their numbers count as numbers.

    Names that differ in leading zeros alone stay apart, and in the order of their signs.
    """
    parts = re.split("([0-9]+)", name)
    digits = (number.lstrip("0") for number in (*parts[1::2], ""))
    words = ((word, len(value), value) for word, value in zip(parts[::2], digits, strict=True))
    return tuple(words), name


def natural_paths(paths: Iterable[Path]) -> list[Path]:
    """Paths in the natural order of their folders' names, then of their own."""
    return sorted(paths, key=lambda path: [natural(part) for part in path.parts])
