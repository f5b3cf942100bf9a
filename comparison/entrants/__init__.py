"""Who takes part in a study: a kind a file, chosen by a key of its table."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .entrant import Entrant
from .ready import read_ready
from .restorer import read_restorer
from .untouched import read_untouched

ENTRANTS: dict[str, Callable[[Mapping[str, Any], str, Path], Entrant]] = {
    "prior": read_restorer,
    "folder": read_ready,
    "untouched": read_untouched,
}


def read_entrant(table: Mapping[str, Any], where: str, root: Path) -> Entrant:
    """An entrant from its table in a study file.

    Args:
        where: of the table, for errors.
        root: what its paths are relative to.
    Raises: ValueError for what cannot be.
    """
    chosen = [key for key in ENTRANTS if key in table]
    if len(chosen) != 1:
        found = " and ".join(chosen) or "none of them"
        raise ValueError(f"{where} has {found}: give exactly one of {', '.join(ENTRANTS)}")
    return ENTRANTS[chosen[0]](table, where, root)
