"""Catalogues of what is loaded by name: what is known of it before torch or a file is opened."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .packages import package_message
from .weight_files import WeightFile, find_file, missing_message, standard_folders

if TYPE_CHECKING:
    import torch

Load = Callable[["str | torch.device", tuple[Path, ...]], Any]


@dataclass(frozen=True, kw_only=True)
class CatalogRow:
    """What is known of a model before it is loaded.

    Attributes:
        load: (device, paths of its files, in order) -> it, with frozen weights.
        summary: what it is, for tooltips.
        range: of its values, for tooltips.
        licence: of code and weights, for tooltips.
        files: weight files it needs besides the pack's own.
        min_side: smallest side in pixels of the pictures it takes.
        packages: of packages.PACKAGES, that it runs on.
    """

    load: Load
    summary: str
    range: str
    licence: str
    files: tuple[WeightFile, ...] = ()
    min_side: int = 1
    packages: tuple[str, ...] = ()


Row = TypeVar("Row", bound=CatalogRow)


@dataclass(frozen=True)
class LazyFunction:
    """A function whose file is imported when it is called; made by `lazily`."""

    package: str | None
    address: str
    options: dict[str, Any]

    def find(self) -> Callable[..., Any]:
        """The function itself, without its options."""
        file, _, function = self.address.partition(":")
        return getattr(import_module(f".{file}", self.package), function)

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self.find()(*arguments, **self.options)


def lazily(package: str | None, address: str, **options: Any) -> LazyFunction:
    """A function whose file is imported when it is called.

    Args:
        package: the caller's `__package__`.
        address: "file:function" in it, as in "clip.liqe:load_liqe".
        options: arguments it gets at every call.
    """
    return LazyFunction(package, address, options)


def choose_row(kind: str, rows: Mapping[str, Row], refused: Mapping[str, str], name: str) -> Row:
    """The row of a name.

    Args:
        kind: "prior" or "fidelity", for the error.
        rows: the catalogue.
        refused: names that people may know, and why they are not in it.
        name: one of the catalogue.
    Raises: ValueError for any other name.
    """
    if name in refused:
        raise ValueError(f"{kind} {name!r} is not offered: {refused[name]}; choose another {kind}")
    if name not in rows:
        raise ValueError(f"unknown {kind} {name!r}: choose from {', '.join(rows)}")
    return rows[name]


def missing_files(row: CatalogRow, folders: Sequence[Path] = ()) -> list[WeightFile]:
    """Files of a row that are in none of the folders nor the standard ones."""
    looked = (*folders, *standard_folders())
    return [file for file in row.files if find_file(file, looked) is None]


def what_is_missing(kind: str, name: str, row: CatalogRow, folders: Sequence[Path] = ()) -> str:
    """Which packages and files of a row are missing, and the remedy; "" if none is."""
    missing = missing_files(row, folders)
    looked = (*folders, *standard_folders())
    messages = [package_message(f"{kind} {name!r}", row.packages)]
    messages += [missing_message(kind, name, missing, looked)] if missing else []
    return "; besides, ".join(message for message in messages if message)
