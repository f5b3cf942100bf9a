"""Where the states of interrupted runs are kept, what they are named by, who is told."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.written import check_folder, discard, remove

OWN_NAME = re.compile("[0-9a-f]{16}")  # of a state, without suffix


@dataclass(frozen=True)
class StateFile:
    """The file that one picture's run is kept in.

    Attributes:
        path: of the file.
        tell: is told in words that the run goes on, or was kept; None where nobody asks.
        at_end: write it where the run does end, too: others of its batch may not.
        preview: where the best picture is shown beside it, or None.
        made_of: see `KeptRuns`.
    """

    path: Path
    tell: Callable[[str], None] | None = None
    at_end: bool = False
    preview: Path | None = None
    made_of: Callable[[], Mapping[str, str]] = dict

    def forget(self) -> None:
        """Remove it, and the picture beside it."""
        for path in self.files():
            remove(path)

    def files(self) -> list[Path]:
        """It, and the picture beside it."""
        return [path for path in (self.preview, self.path) if path is not None]


def _untold(what: str) -> None:
    """Nobody asks."""


@dataclass(frozen=True)
class KeptRuns:
    """Where a batch's states are kept: a file a picture, named by its content, and a PNG each.

    Attributes:
        folder: of the files.
        go_on: whether to go on from a file that is there; else the run starts anew.
        lineage: what tells the backbone from others of its name; "" where its name does.
        tell: is told in words that a run goes on, or was kept.
        chosen: the state of a single picture, given on purpose: it is gone on from whatever its
            name, and never removed.
        made_of: what the model is made of, by parts, asked once it is bound to the picture; a state
            of another model is refused even if that has the same name.
    """

    folder: Path
    go_on: bool = True
    lineage: str = ""
    tell: Callable[[str], None] = _untold
    chosen: Path | None = None
    made_of: Callable[[], Mapping[str, str]] = dict

    def file(self, description: Mapping[str, Any], of_several: bool) -> StateFile:
        """The file of one picture's run, whatever its tile and the version of torch.

        Args:
            description: see `describe_run`.
            of_several: whether there are more pictures.
        """
        path = self.chosen or self.folder / f"{self._name(description)}.state"
        check_folder(path.parent)
        file = StateFile(path, self.tell, of_several, _preview_of(path), self.made_of)
        if self.chosen is None and not self.go_on:
            file.forget()
        return file

    def _name(self, description: Mapping[str, Any]) -> str:
        said = {name: part for name, part in description.items() if name != "torch"}
        inversion = {**said["settings"]["inversion"], "tile": None}
        said["settings"] = {**said["settings"], "inversion": inversion}
        text = json.dumps([said, self.lineage], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def release(self, files: list[StateFile]) -> None:
        """Remove the files of a batch that is done."""
        for file in files if self.chosen is None else ():
            for path in file.files():
                discard(path)


def _preview_of(state: Path) -> Path | None:
    """The picture beside a state; None where a link or what is no file has its name.

    Beside a state that the user has named anew, a picture of that name may be the user's own.
    """
    if not OWN_NAME.fullmatch(state.stem):
        return None
    path = state.with_suffix(".png")
    return path if (path.is_file() and not path.is_symlink()) or not os.path.lexists(path) else None


def check_state(state: Path | KeptRuns | None, pictures: int) -> None:
    """Raise ValueError for one state of several pictures, or a chosen one that is gone."""
    chosen = state.chosen if isinstance(state, KeptRuns) else None
    if chosen is not None and not chosen.exists():
        raise ValueError(f"no state file {chosen}: choose another, or none to start anew")
    single = chosen or (state if isinstance(state, Path) else None)
    if single is not None and pictures > 1:
        raise ValueError(f"a state file keeps one picture, the batch holds {pictures}")
