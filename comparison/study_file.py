"""A study as its TOML file describes it: read whole and refused in one line before any work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.toml_files import parse_toml
from ..files.windows_names import flaw_on_windows
from .hashing import description_hash
from .pictures_settings import PicturesSettings
from .selection_settings import SelectionSettings
from .session_settings import SessionSettings
from .toml_tables import read_table
from .votes import SPOILT

if TYPE_CHECKING:
    from .entrants import Entrant

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+=()-]{0,59}")  # safe as a folder's on every system
# What a study makes in its folder.
WRITTEN = (
    *("inputs", "results", "results.csv", "scores.csv", "pairs.csv", "selection.json"),
    *("votes", "analysis", "sessions", "distances", "features"),
)
# The tables of a study file besides its entrants: a dataclass and a line each.
TABLES: dict[str, type] = {
    "pictures": PicturesSettings,
    "selection": SelectionSettings,
    "session": SessionSettings,
}


@dataclass(frozen=True)
class Study:
    """A study: pictures, who works on them, which results are shown and how.

    Attributes:
        file: its TOML file.
        folder: where all that it makes goes.
        entrants: at least two, by their names, in the file's order.
        pictures, selection, session: the file's tables.
        digests: hash of each entrant's table, by name.
    """

    file: Path
    folder: Path
    entrants: Mapping[str, Entrant]
    pictures: PicturesSettings
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    session: SessionSettings = field(default_factory=SessionSettings)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> Path:
        """The folder of the prepared pictures."""
        return self.folder / "inputs"

    def result(self, entrant: str, picture: str) -> Path:
        """The file of an entrant's result of a picture."""
        return self.folder / "results" / entrant / f"{picture}.png"

    @property
    def pairs(self) -> Path:
        """The file of the pairs to be shown."""
        return self.folder / "pairs.csv"


def load_study(path: Path) -> Study:
    """Read and check a study file; nothing it names is opened, but for folders that must be there.

    Args:
        path: paths in it are relative to its folder.
    Raises: ValueError, with one line, for what a study cannot be.
    """
    table = parse_toml(path, "study", "see docs/study.md")
    known = ("folder", "entrant", *TABLES)
    if unknown := [key for key in table if key not in known]:
        raise ValueError(
            f"{path} does not know {', '.join(map(repr, unknown))}: it takes {', '.join(known)}"
        )
    if "pictures" not in table:
        raise ValueError(f'{path} has no table [pictures]: add one with folder = "..."')
    tables = {
        name: read_table(kind, table[name], f"{path}: [{name}]")
        for name, kind in TABLES.items()
        if name in table
    }
    root = path.absolute().parent
    tables["pictures"] = tables["pictures"].within(root)
    entrants = _entrants(table, path, root)
    digests = {each["name"]: description_hash(each) for each in table["entrant"]}
    return Study(path, _folder(table, path, root), entrants, **tables, digests=digests)


def check_rooms(study: Study) -> None:
    """Raise ValueError where what the study reads lies where it writes."""
    own = {(study.folder / name).resolve() for name in WRITTEN}
    named = (path for entrant in study.entrants.values() for path in entrant.reads)
    for read in (study.file, study.pictures.folder, study.pictures.exclude, *named):
        place = None if read is None else read.resolve()
        if place is not None and own & {place, *place.parents}:
            raise ValueError(
                f"{study.file}: {read} lies where the study writes: move it out of "
                f"{', '.join(WRITTEN)} in {study.folder}, or choose another folder for the study"
            )


def _folder(table: dict[str, Any], path: Path, root: Path) -> Path:
    given = table.get("folder", path.stem)
    if not isinstance(given, str) or not given or "\0" in given:
        raise ValueError(f"{path}: folder is {given!r}: give a path")
    folder = root / given
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        what = "a file" if folder.exists() else "a link to nothing"
        raise ValueError(f"{path}: {folder} is {what}: choose another folder for the study")
    return folder


def _entrants(table: dict[str, Any], path: Path, root: Path) -> dict[str, Entrant]:
    from .entrants import read_entrant

    given = table.get("entrant", [])
    if not isinstance(given, list) or len(given) < 2:
        raise ValueError(f"{path} needs two tables [[entrant]] or more: what is to be compared?")
    entrants: dict[str, Entrant] = {}
    for number, each in enumerate(given, 1):
        name = each.get("name") if isinstance(each, dict) else None
        where = f"{path}: entrant {number}"
        if not isinstance(name, str) or not NAME.fullmatch(name) or name.endswith((".", " ")):
            raise ValueError(
                f"{where} has the name {name!r}: give up to 60 letters, digits and . _ + - = ( ), "
                "beginning with a letter or digit"
            )
        if flaw := flaw_on_windows(name):
            raise ValueError(f"{where} is called {name!r}, {flaw}: give it another name")
        if name.casefold() == SPOILT:
            raise ValueError(f"{where} is called {name!r}, as traps are: give it another name")
        if name.casefold() in map(str.casefold, entrants):
            raise ValueError(f"{where} is called {name!r} as one before: give it another name")
        entrants[name] = read_entrant(each, f"{path}: entrant {name!r}", root)
    return entrants
