"""Weight files by name: where they are looked for, and what to do where one is missing."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).absolute().parents[1] / "download.py"
FOLDER_VARIABLE = "LATENT_MAP_MODELS"  # the folder whose `iqa` folder holds the files
# Where other programs keep them: pyiqa, torchvision and pyiqa's CLIP in PyTorch's hub folder,
# openai-clip in its own.
CACHES = ("pyiqa", "checkpoints", "clip", "~/.cache/clip")


class WeightFile(NamedTuple):
    """A weight file that a prior or a measure needs.

    Attributes:
        name: file name, the same in every folder.
        size_mb: about how much a download is, in megabytes; 0 where unknown.
        url: where it can be had; empty where nobody publishes it.
        sha256: what its SHA-256 begins with; empty where that is not known.
        cache: which of CACHES a download goes to where FOLDER_VARIABLE is not set.
        instead: names under which others publish the same weights.
        marker: a file by which a folder is recognised that can stand for it.
    """

    name: str
    size_mb: float = 0
    url: str = ""
    sha256: str = ""
    cache: str = CACHES[0]
    instead: tuple[str, ...] = ()
    marker: str = ""


def standard_folders(caches: Sequence[str] = CACHES) -> tuple[Path, ...]:
    """LATENT_MAP_MODELS/iqa where that is set, then the caches."""
    import torch

    chosen = os.environ.get(FOLDER_VARIABLE)
    ours = (Path(os.path.expanduser(chosen)) / "iqa",) if chosen else ()
    hub = Path(torch.hub.get_dir())
    return (*ours, *(hub / os.path.expanduser(cache) for cache in caches))


def find_file(file: WeightFile, folders: Sequence[Path]) -> Path | None:
    """The file in the first of the folders that has it; None if none has."""
    paths = (Path(folder) / name for folder in folders for name in (file.name, *file.instead))
    return next((path for path in paths if path.is_file()), None)


def find_files(
    kind: str,
    name: str,
    files: Sequence[WeightFile],
    folders: Sequence[Path] = (),
    path: Path | str | None = None,
) -> tuple[Path, ...]:
    """Paths of weight files, in order.

    Args:
        kind, name: whose they are, for the error: "prior" or "fidelity", and its name.
        files: what it needs.
        folders: looked in before the standard ones, as ComfyUI's models/iqa.
        path: the file itself, the folder that holds all, or one that can stand for it; then
            nothing else is looked at.
    Raises: ValueError naming the missing file, the folders and the remedy; for a path where no
        file is needed.
    """
    looked = (*folders, *standard_folders()) if path is None else (Path(path),)
    if path is not None and len(files) == 1 and _is_or_stands_for(Path(path), files[0]):
        return (Path(path),)
    if path is not None and not files:
        raise ValueError(f"{kind} {name!r} needs no weights: leave {path} out")
    if path is not None and not Path(path).is_dir():
        names = " and ".join(file.name for file in files)
        raise ValueError(
            f"no weights of {kind} {name!r} at {path}: give the folder that holds {names}"
        )
    paths = {file: find_file(file, looked) for file in files}
    missing = [file for file, where in paths.items() if where is None]
    if missing:
        raise ValueError(missing_message(kind, name, missing, looked))
    return tuple(where for where in paths.values() if where is not None)


def _is_or_stands_for(path: Path, file: WeightFile) -> bool:
    places = (path, path / "vae") if file.marker else ()
    return path.is_file() or any((place / file.marker).is_file() for place in places)


def missing_message(
    kind: str, name: str, missing: Sequence[WeightFile], looked: Sequence[Path]
) -> str:
    """Which files are in none of the folders, and the remedy; `kind` as for `find_files`."""
    names = " and ".join(
        f"{file.name} (about {file.size_mb:.3g} MB)" if file.size_mb else file.name
        for file in missing
    )
    remedy = f"nobody publishes it, so train it and put it into {looked[0]}"
    if all(file.url for file in missing):
        command = f'"{sys.executable}" "{SCRIPT}" {name} --folder "{looked[0]}"'
        addresses = " and ".join(file.url for file in missing)
        remedy = f"run `{command}`, or fetch {addresses} and put it into {looked[0]}"
    return (
        f"{kind} {name!r} needs the file {names}, which is in none of the folders "
        f"{', '.join(map(str, looked))}: {remedy}, or choose another {kind}"
    )
