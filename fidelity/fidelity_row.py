"""What is known of a measure before it is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..files.catalog import CatalogRow, lazily


@dataclass(frozen=True, kw_only=True)
class FidelityRow(CatalogRow):
    """What is known of a measure; it is loaded as a `Measure`. 0 when equal, lower is better.

    Attributes:
        options: names of the measure's arguments after the two pictures.
        known_as: what saved runs call it, where that is not its name in the catalogue.
    """

    min_side: int = 16
    options: tuple[str, ...] = ()
    known_as: str = ""


def plain(address: str) -> Callable[..., Any]:
    """A loader of a measure that is a function and needs no weights; its file is imported then.

    Args:
        address: "file:function" in this folder.
    """
    function = lazily(__package__, address)
    return lambda *_: function.find()
