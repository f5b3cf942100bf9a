"""What is known of a measure before it is loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..files.catalog import CatalogRow, lazily


@dataclass(frozen=True, kw_only=True)
class FidelityRow(CatalogRow):
    """What is known of a measure; it is loaded as a `Measure`. 0 when equal, lower is better.

    Attributes:
        options: names of the measure's arguments after the two pictures.
        defaults: of these arguments, where not the measure's own.
        known_as: what saved runs call it, where that is not its name in the catalogue.
        unsaid: arguments that saved runs do not tell, since version 0.1 had no others.
    """

    min_side: int = 16
    options: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    known_as: str = ""
    unsaid: Mapping[str, Any] = field(default_factory=dict)


def plain(address: str) -> Callable[..., Any]:
    """A loader of a measure that is a function and needs no weights; its file is imported then.

    Args:
        address: "file:function" in this folder.
    """
    function = lazily(__package__, address)
    return lambda *_: function.find()
