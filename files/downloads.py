"""Downloads, for those who ask for them: resumed, checked, whole or not there at all."""

import http.client
import os
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import Timeout

from .checksums import sha256_of
from .known_downloads import compare, lock_of
from .transfers import Report, forget, receive
from .weight_files import WeightFile, standard_folders
from .weights import what_is_wrong
from .written import check_folder

WHOLE_DIGEST = 64  # digits of a SHA-256
WAIT_SECONDS = 1.0  # between two looks at whether another program has done


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
        sha256: what its SHA-256 must begin with, as far as that is known; where not all of it is,
            it must be what this address gave the first time.
        advice: end of the error, as "; put the folder there".
        report: is told of each block that came.
    Returns: the file's SHA-256.
    Raises: ValueError if the folder cannot be made. OSError when the server or the disk fails
        (what came stays in TARGET.part, and the next call goes on from there), or the file that
        came or was there is not the right one.
    """
    wanted = Wanted(url, target.suffix, size, sha256)
    if target.exists():
        return _kept(target, wanted)
    check_folder(target.parent)
    try:
        with _alone(target, report):
            if target.exists():  # another has fetched it meanwhile
                return _kept(target, wanted)
            digest = _fetched(wanted, target, report)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"cannot fetch {target.name} ({_reason(error)}): repeat the command to go on from "
            f"there, or fetch {url} by hand and put it at {target.absolute()}{advice}"
        ) from error
    return digest


class Wanted(NamedTuple):
    """What is asked for; as in `fetch`."""

    url: str
    suffix: str
    size: int | None
    sha256: str


def _kept(target: Path, wanted: Wanted) -> str:
    wrong, digest = _inspect(target, wanted)
    if wrong:
        raise OSError(
            f"{target} is not the file of {wanted.url} ({wrong}): delete it or move it away"
        )
    return digest


@contextmanager
def _alone(target: Path, report: Report) -> Iterator[None]:
    """While it lasts, no other program fetches this file; waits for one that does."""
    lock = lock_of(target)
    if lock is None:
        yield
        return
    while True:
        try:
            lock.acquire(timeout=WAIT_SECONDS)
            break
        except Timeout:
            report(0, None)  # which may raise, to end the waiting
    try:
        yield
    finally:
        lock.release()


def _fetched(wanted: Wanted, target: Path, report: Report) -> str:
    part = target.with_name(target.name + ".part")
    wrong, digest = _inspect(part, wanted) if part.exists() else ("it is not there", "")
    # What proves itself needs no server.
    if wrong or wanted.size is None or len(wanted.sha256) < WHOLE_DIGEST:
        receive(wanted.url, part, target.name, wanted.size, report)
        wrong, digest = _inspect(part, wanted)
    if wrong:
        forget(part)  # going on from a wrong file would give a wrong file
        raise OSError(f"what came is not the file asked for: {wrong}")
    os.replace(part, target)
    forget(part)
    return digest


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _inspect(path: Path, wanted: Wanted) -> tuple[str | None, str]:
    """What is wrong with a file, None if nothing; and its SHA-256."""
    wrong, has = what_is_wrong(path, wanted.suffix), path.stat().st_size
    digest = sha256_of(path)
    if not wrong and wanted.size is not None and has != wanted.size:
        wrong = f"{has} bytes instead of {wanted.size}"
    if not wrong and not digest.startswith(wanted.sha256):
        wrong = f"its sha256 is {digest} and should begin with {wanted.sha256}"
    if not wrong and len(wanted.sha256) < WHOLE_DIGEST:
        wrong = compare(wanted.url, digest)
    return wrong, digest
