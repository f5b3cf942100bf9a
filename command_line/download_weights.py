"""The explicit download of the weights that a registry's rows name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import option

if TYPE_CHECKING:
    from ..files.weight_files import WeightFile


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where weights go."""

    folder: Path | None = option("default: LATENT_MAP_MODELS/iqa, or a cache", default=None)


def download_weights(
    name: str, files: Mapping[str, Sequence[WeightFile]], destination: Destination
) -> int:
    """Fetch the files of one of the names to where they are looked for, or into a folder.

    Returns: 0. Raises: ValueError for a name that needs no file.
    """
    from ..files.downloads import fetch_files

    if name not in files:
        raise ValueError(f"unknown name {name!r}: choose from {', '.join(_needing(files))}")
    if not files[name]:
        raise ValueError(
            f"{name!r} needs no file, it works as it is; of those that need one choose from "
            f"{', '.join(_needing(files))}"
        )
    for path, digest in fetch_files(files[name], destination.folder).items():
        print(f"{path}  sha256 {digest}")
    return 0


def _needing(files: Mapping[str, Sequence[WeightFile]]) -> list[str]:
    return [name for name, needed in files.items() if needed]
