"""Where weight files of priors are looked for, and the explicit download of one."""

import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

log = logging.getLogger(__name__)
PYIQA_FILES = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"
FOLDER_VARIABLE = "LATENT_MAP_MODELS"  # the folder whose `iqa` folder holds the files
BLOCK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60

Progress = Callable[[int, int], None]


class PriorFile(NamedTuple):
    """A weight file that a prior needs.

    Attributes:
        name: file name, the same in every folder.
        size_mb: about how much a download is, in megabytes; 0 where unknown.
        url: where `download_file` gets it; empty where nobody publishes it.
    """

    name: str
    size_mb: float
    url: str

    @classmethod
    def of_pyiqa(cls, name: str, size_mb: float) -> "PriorFile":
        """A file that pyiqa's authors publish."""
        return cls(name, size_mb, f"{PYIQA_FILES}/{name}")


def standard_folders() -> tuple[Path, ...]:
    """LATENT_MAP_MODELS/iqa where that is set, then pyiqa's own cache in PyTorch's hub folder."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    ours = (Path(chosen).expanduser() / "iqa",) if chosen else ()
    return (*ours, Path(torch.hub.get_dir()) / "pyiqa")


def find_file(file: PriorFile, folders: Sequence[Path] = ()) -> Path | None:
    """The first of the folders, then of the standard ones, that has the file; None if none has."""
    for folder in (*folders, *standard_folders()):
        path = Path(folder) / file.name
        if path.is_file():
            return path
    return None


def find_files(
    prior: str,
    files: Sequence[PriorFile],
    folders: Sequence[Path] = (),
    path: Path | str | None = None,
) -> tuple[Path, ...]:
    """Paths of a prior's files, in order.

    Args:
        prior: its name, for the error.
        files: what it needs.
        folders: looked in before the standard ones, as ComfyUI's models/iqa.
        path: the file itself, or a folder that holds all; then nothing else is looked at.
    Raises: ValueError naming the missing file, the folders and the remedy.
    """
    if path is not None and Path(path).is_file() and len(files) == 1:
        return (Path(path),)
    if path is not None:
        if not Path(path).is_dir():
            names = " and ".join(file.name for file in files)
            raise ValueError(
                f"no weights of prior {prior!r} at {path}: give the folder that holds {names}"
            )
        found = {file: _in_folder(file, Path(path)) for file in files}
        looked = (Path(path),)
    else:
        found = {file: find_file(file, folders) for file in files}
        looked = (*map(Path, folders), *standard_folders())
    missing = [file for file, where in found.items() if where is None]
    if missing:
        raise ValueError(_message(prior, missing, looked))
    return tuple(where for where in found.values() if where is not None)


def _in_folder(file: PriorFile, folder: Path) -> Path | None:
    return folder / file.name if (folder / file.name).is_file() else None


def missing_message(prior: str, missing: Sequence[PriorFile], folders: Sequence[Path] = ()) -> str:
    """What is missing, that it is neither in the folders nor the standard ones, and the remedy."""
    return _message(prior, missing, (*folders, *standard_folders()))


def _message(prior: str, missing: Sequence[PriorFile], folders: Sequence[Path]) -> str:
    names = " and ".join(_described(file) for file in missing)
    places = ", ".join(str(folder) for folder in folders)
    remedy = f"get it with `python -m latent_map download-prior {prior} --folder {folders[0]}`"
    if not all(file.url for file in missing):
        remedy = f"nobody publishes it, so train it and put it into {folders[0]}"
    return (
        f"prior {prior!r} needs the file {names}, which is in none of the folders {places}: "
        f"{remedy}, or choose another prior"
    )


def _described(file: PriorFile) -> str:
    return f"{file.name} (about {file.size_mb:.3g} MB)" if file.size_mb else file.name


def download_file(file: PriorFile, folder: Path, progress: Progress | None = None) -> Path:
    """Download a file, which appears in the folder only when it is complete.

    Args:
        file: what to get.
        folder: where to; it is made if need be.
        progress: called with (bytes so far, bytes in all or 0 where the server does not say).
    Returns: its path; a file already there is left as it is.
    Raises: ValueError if the server cannot be reached, refuses, or breaks off, or if the folder
        cannot be written.
    """
    if not file.url:
        raise ValueError(
            f"nobody publishes {file.name}: make it yourself, and put it into {folder}"
        )
    target = Path(folder) / file.name
    if target.is_file():
        log.info("%s is there already", target)
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(file.url, partial, progress)
        partial.replace(target)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ValueError(
            f"could not download {file.name} from {file.url} ({error}): try again, or put the file "
            f"into {folder} by hand"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _fetch(url: str, target: Path, progress: Progress | None) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as out:
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        while block := answer.read(BLOCK_BYTES):
            out.write(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
        out.flush()
        os.fsync(out.fileno())
    if not done or (total and done != total):
        raise ValueError(f"{done} of {total or 'an unknown number of'} bytes came")
