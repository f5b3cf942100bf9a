"""A folder of ready pictures, of any other restorer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ...files.pictures import find_pictures, picture_size, read_picture
from ..hashing import file_hash
from ..preparation import to_srgb
from ..toml_tables import read_table
from .entrant import Made

NAMED = 5  # pictures named in an error; the others are counted


@dataclass(frozen=True)
class Ready:
    """Results that another program made, one for each picture, under the pictures' names.

    Attributes:
        name: its name in tables.
        folder: of its pictures; those of the study must be there, others may.
    """

    name: str
    folder: Path

    @property
    def models(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def reads(self) -> tuple[Path, ...]:
        """Its folder."""
        return (self.folder,)

    @cached_property
    def files(self) -> dict[str, Path]:
        """Its files by picture."""
        files: dict[str, Path] = {}
        for file in find_pictures(self.folder):
            if file.stem in files:
                raise ValueError(
                    f"entrant {self.name!r} has {files[file.stem].name} and {file.name} in "
                    f"{self.folder}: take one of them away"
                )
            files[file.stem] = file
        return files

    def check(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Raise ValueError for pictures that are missing or of another size."""
        if not self.folder.is_dir():
            raise ValueError(f"entrant {self.name!r}: there is no folder {self.folder}: check it")
        if missing := [picture for picture in sizes if picture not in self.files]:
            raise ValueError(
                f"entrant {self.name!r} lacks {_some(missing)} of {len(sizes)} pictures in "
                f"{self.folder}: put them there under the names of inputs/, or exclude them"
            )
        for picture, size in sizes.items():
            if (own := picture_size(self.files[picture])) != size:
                raise ValueError(
                    f"entrant {self.name!r}: {self.files[picture].name} is {own[0]}x{own[1]} "
                    f"pixels, inputs/{picture}.png {size[0]}x{size[1]}: make it from that, at "
                    "scale 1"
                )

    def describe(self, picture: str) -> dict[str, Any]:
        """The file's content."""
        return {"kind": "ready", "sha256": file_hash(self.files[picture])}

    def make(self, picture: str, pixels: Tensor, device: str) -> Made:  # noqa: ARG002
        """The ready picture.

        Raises: ValueError if it cannot be read, or is of another size.
        """
        file = self.files[picture]
        ready = to_srgb(read_picture(file), file)
        if ready.shape != pixels.shape:
            raise ValueError(f"{file} is of another size than the input: make it at scale 1")
        return Made(ready, {"file": str(file)})


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def read_ready(table: Mapping[str, Any], where: str, root: Path) -> Ready:
    """From its table in a study file."""
    ready = read_table(Ready, table, where)
    return replace(ready, folder=root / ready.folder)
