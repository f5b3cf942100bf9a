"""Downloads, for those who ask for them: resumed, checked, whole or not there at all."""

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from .weight_files import WeightFile, standard_folders
from .weights import what_is_wrong

BLOCK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60  # without a byte


# Told how many bytes are there, and how many there will be if that is known; what it raises ends
# the download, and the next one goes on from there.
Report = Callable[[int, int | None], None]


def _unwatched(have: int, total: int | None) -> None:
    """Nobody looks."""


def fetch_files(
    files: Sequence[WeightFile], folder: Path | None = None, report: Report = _unwatched
) -> dict[Path, str]:
    """Fetch weight files into a folder, or where other programs keep them, as `fetch`.

    Returns: the SHA-256 of each by its path.
    Raises: ValueError if nobody publishes one of them, before any is fetched; as `fetch`.
    """
    places = [(folder or standard_folders([file.cache])[0]) / file.name for file in files]
    for file, place in zip(files, places, strict=True):
        if not file.url:
            raise ValueError(f"nobody publishes {file.name}: put your own into {place.parent}")
    return {
        place: fetch(file.url, place, sha256=file.sha256, report=report)
        for file, place in zip(files, places, strict=True)
    }


def fetch(
    url: str,
    target: Path,
    size: int | None = None,
    sha256: str = "",
    advice: str = "",
    report: Report = _unwatched,
) -> str:
    """Fetch one file; it appears under its name only when it is whole and right.

    Progress is shown on a terminal.

    Args:
        url: its address.
        target: where it goes; what is there already is checked and kept.
        size: bytes it must have, if that is known.
        sha256: what its SHA-256 must begin with, as far as that is known.
        advice: end of the error, as "; put the folder there".
        report: is told of each block that came.
    Returns: the file's SHA-256.
    Raises: ValueError if the folder cannot be made. OSError when the server or the disk fails
        (what came stays in TARGET.part, and the next call goes on from there), or the file that
        came or was there is not the right one.
    """
    if target.exists():
        wrong, digest = _inspect(target, target.suffix, size, sha256)
        if wrong:
            raise OSError(f"{target} is not the file of {url} ({wrong}): delete it or move it away")
        return digest
    _make_folder(target.parent)
    part = target.with_name(target.name + ".part")
    try:
        _receive(url, part, target.name, report)
        wrong, digest = _inspect(part, target.suffix, size, sha256)
        if wrong:
            part.unlink()  # going on from a wrong file would give a wrong file
            raise OSError(f"what came is not the file asked for: {wrong}")
        os.replace(part, target)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"cannot fetch {target.name} ({_reason(error)}): repeat the command to go on from "
            f"there, or fetch {url} by hand and put it at {target.absolute()}{advice}"
        ) from error
    return digest


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise ValueError(f"{folder} cannot be the folder ({reason}): give another one") from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _receive(url: str, part: Path, label: str, report: Report) -> None:
    """Append what the server has beyond what is there.

    Raises: OSError if less comes than the server announces, or more than the disk has room for.
    """
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "latent-map"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing beyond: all of it is there, or too much
            return
        raise
    with answer:
        have = have if answer.status == 206 else 0  # the server may not know ranges
        coming = int(answer.headers.get("Content-Length") or 0)
        total = have + coming if coming else None
        free = shutil.disk_usage(part.parent).free
        if coming > free:
            raise OSError(f"{coming} bytes are to come, and {part.parent} has room for {free}")
        bar = tqdm(total=total, initial=have, desc=label, unit="B", unit_scale=True, disable=None)
        # Not appending: two downloads of the same file write the same bytes to the same places.
        with bar, part.open("r+b" if have else "wb") as out:
            out.seek(have)
            while block := answer.read(BLOCK_BYTES):
                out.write(block)
                bar.update(len(block))
                report(out.tell(), total)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
    if total and size < total:
        raise OSError(f"the connection ended after {size} of {total} bytes")


def _inspect(path: Path, suffix: str, size: int | None, sha256: str) -> tuple[str | None, str]:
    """What is wrong with a file that is to end in `suffix`, None if nothing; and its SHA-256."""
    wrong, has, digest = what_is_wrong(path, suffix), path.stat().st_size, _sha256(path)
    if not wrong and size is not None and has != size:
        wrong = f"{has} bytes instead of {size}"
    if not wrong and not digest.startswith(sha256):
        wrong = f"its sha256 is {digest} and should begin with {sha256}"
    return wrong, digest


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
