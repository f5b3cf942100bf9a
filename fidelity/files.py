"""Where the networks of the fidelity measures are looked for, and the explicit download of one."""

import hashlib
import logging
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

log = logging.getLogger(__name__)
TORCHVISION_FILES = "https://download.pytorch.org/models"
FOLDER_VARIABLE = "LATENT_MAP_MODELS"  # the folder whose `iqa` folder holds the files
BLOCK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60


class FidelityFile(NamedTuple):
    """A weight file that a measure needs.

    Attributes:
        name: file name, the same in every folder.
        size_mb: of a download, in megabytes.
        folder: where on the web it is.
        checked: whether the name ends in the start of the file's SHA-256, as torchvision's do.
        marker: a file by which a folder is recognised that can stand for it.
    """

    name: str
    size_mb: int
    folder: str = TORCHVISION_FILES
    checked: bool = True
    marker: str = ""


VGG16 = FidelityFile("vgg16-397923af.pth", 528)
ALEXNET = FidelityFile("alexnet-owt-7be5be79.pth", 233)
VAE = FidelityFile(
    "vae-ft-mse-840000-ema-pruned.safetensors",
    335,
    "https://huggingface.co/stabilityai/sd-vae-ft-mse-original/resolve/main",
    checked=False,
    marker="config.json",
)


def standard_folders() -> tuple[Path, ...]:
    """LATENT_MAP_MODELS/iqa where that is set, then torchvision's own cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    ours = (Path(chosen).expanduser() / "iqa",) if chosen else ()
    return (*ours, Path(torch.hub.get_dir()) / "checkpoints")


def find_file(
    measure: str,
    file: FidelityFile,
    folders: Sequence[Path] = (),
    path: Path | str | None = None,
) -> Path:
    """Path of a measure's file.

    Args:
        measure: its name, for the error.
        file: what it needs.
        folders: looked in before the standard ones, as ComfyUI's models/iqa.
        path: the file itself, its folder, or a folder that can stand for it; then nothing else
            is looked at.
    Raises: ValueError naming the file, the folders and the remedy.
    """
    if path is not None and (Path(path).is_file() or _stands_for(Path(path), file)):
        return Path(path)
    looked = (Path(path),) if path is not None else (*folders, *standard_folders())
    for folder in looked:
        if (folder / file.name).is_file():
            return folder / file.name
    raise ValueError(
        f"fidelity {measure!r} needs the file {file.name} (about {file.size_mb} MB), which is in "
        f"none of the folders {', '.join(map(str, looked))}: put it there, or get it with "
        f"`python -m latent_map download-fidelity {measure}`, or choose another measure"
    )


def _stands_for(folder: Path, file: FidelityFile) -> bool:
    places = (folder, folder / "vae")
    return bool(file.marker) and any((place / file.marker).is_file() for place in places)


def download_file(file: FidelityFile, folder: Path | None = None) -> Path:
    """Download a file; it appears only when complete, and checked where its name allows.

    Args:
        file: what to get.
        folder: where to; torchvision's cache by default.
    Returns: its path; a file already there is left as it is.
    Raises: ValueError if it cannot be fetched or written, or is not the published file.
    """
    folder = standard_folders()[-1] if folder is None else folder
    target = folder / file.name
    if target.is_file():
        log.info("%s is there already", target)
        return target
    url = f"{file.folder}/{file.name}"
    log.info("downloading %s (about %d MB) to %s", url, file.size_mb, folder)
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checksum = _fetch(url, partial)
        if file.checked and not checksum.startswith(target.stem.rsplit("-", 1)[-1]):
            raise ValueError("the file that came is not the published one")
        partial.replace(target)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"could not download {file.name} from {url} ({error}): try again, or put the file into "
            f"{folder} by hand"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _fetch(url: str, target: Path) -> str:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as out:
        while block := answer.read(BLOCK_BYTES):
            out.write(block)
            digest.update(block)
    return digest.hexdigest()
