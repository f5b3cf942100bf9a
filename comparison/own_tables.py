"""Tables that a study writes, told from files of others by their first lines."""

from collections.abc import Iterable
from pathlib import Path


def check_own_table(path: Path, columns: Iterable[str]) -> None:
    """Raise ValueError if a file is there that no study wrote, as it would be replaced.

    Args:
        path: of the table.
        columns: that it has; one of an earlier version may lack the last.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        head = file.readline(1000).decode("utf-8", "replace").strip()
    if not head or not ",".join(columns).startswith(head):
        raise ValueError(f"{path}, which would be replaced, is of no study: move it away")
