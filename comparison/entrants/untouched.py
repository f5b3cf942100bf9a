"""The input as it is: does anything help at all?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..toml_tables import read_table
from .entrant import Made


@dataclass(frozen=True)
class Untouched:
    """The prepared picture itself; not an entrant of the paper.

    Attributes:
        name: its name in tables.
        untouched: true.
    """

    name: str
    untouched: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for an entrant that says it is none."""
        if not self.untouched:
            raise ValueError("untouched is false: leave it out, and give a prior or a folder")

    @property
    def models(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def reads(self) -> tuple[Path, ...]:
        """None."""
        return ()

    def check(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """It lacks nothing."""

    def describe(self, picture: str) -> dict[str, Any]:  # noqa: ARG002 - an Entrant
        """Nothing but the picture."""
        return {"kind": "untouched"}

    def make(self, picture: str, pixels: Tensor, device: str) -> Made:  # noqa: ARG002
        """The picture."""
        return Made(pixels, {})


def read_untouched(table: Mapping[str, Any], where: str, root: Path) -> Untouched:  # noqa: ARG001
    """From its table in a study file."""
    return read_table(Untouched, table, where)
