"""Bytes from a server, of which nothing is believed that can be checked."""

import json
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLOCK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60  # without a byte


# Told how many bytes are there, and how many there will be if that is known; what it raises ends
# the download, and the next one goes on from there.
Report = Callable[[int, int | None], None]


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows addresses with https only."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"it leads to {newurl[:80]}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request) -> Any:
    return urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT_SECONDS)


def receive(url: str, part: Path, label: str, size: int | None, report: Report) -> None:
    """Fetch an address into a file, going on from what is there if the server's is the same still.

    Args:
        url: the address.
        part: the file; beside it, while it is not whole, is what tells its version.
        label: for the progress bar.
        size: bytes it must have, if that is known.
        report: is told of each block.
    Raises: OSError if less or more comes than is right, or more than the disk has room for; what
        came stays.
    """
    have = part.stat().st_size if part.exists() else 0
    version = _version_of(part) if have else ""
    if not version:  # nothing says that the rest would be the rest of this
        have = 0
    request = urllib.request.Request(url, headers={"User-Agent": "latent-map"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    try:
        answer = _open(request)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # what is there is no beginning of the server's file
            forget(part)
            receive(url, part, label, size, report)
            return
        raise
    with answer:
        have = _start_of(answer, have, version)
        _take(answer, part, label, have, size, report)


def forget(part: Path) -> None:
    """Remove an unfinished file and what told its version."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _version_of(part: Path) -> str:
    """The strong validator that came with what is there; "" if none did."""
    try:
        note = json.loads(_note_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return note if isinstance(note, str) else ""


def _validator(headers: Any) -> str:
    tag = headers.get("ETag") or ""
    return tag if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', tag) else ""


def _start_of(answer: Any, have: int, version: str) -> int:
    """Where what comes belongs: the end of what is there, or 0.

    Raises: OSError if it is another part than was asked for.
    """
    if answer.status != 206:
        return 0  # another version, or a server that knows no ranges
    said = answer.headers.get("Content-Range") or ""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", said.strip())
    tag = _validator(answer.headers)
    if not have or not match or int(match[1]) != have or (tag and tag != version):
        raise OSError(f"the server sends another part than was asked for ({said[:60]!r})")
    return have


def _total(answer: Any, have: int, size: int | None) -> int | None:
    """How many bytes there will be.

    Raises: OSError if that is not what it must be, or nothing would tell a file that is cut off.
    """
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length and length.isdecimal() else None
    said = (answer.headers.get("Content-Range") or "").rpartition("/")[2]
    if total is not None and answer.status == 206 and said not in ("*", str(total)):
        raise OSError(f"the server sends {total} bytes of {said[:20]}")
    if size is not None and total not in (None, size):
        raise OSError(f"the server has {total} bytes, {size} are wanted")
    chunked = (answer.headers.get("Transfer-Encoding") or "").lower() == "chunked"
    if total is None and size is None and not chunked:
        raise OSError("the server does not say how many bytes there are to come")
    return size if total is None else total


def _take(answer: Any, part: Path, label: str, have: int, size: int | None, report: Report) -> None:
    from tqdm import tqdm

    total = _total(answer, have, size)
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise OSError(f"{total - have} bytes are to come, and {part.parent} has room for {free}")
    if not have:
        forget(part)
        if tag := _validator(answer.headers):
            _note_of(part).write_text(json.dumps(tag), encoding="utf-8")
    bar = tqdm(total=total, initial=have, desc=label, unit="B", unit_scale=True, disable=None)
    with bar, part.open("r+b" if have else "wb") as out:
        out.seek(have)
        while block := answer.read(BLOCK_BYTES):
            if total is not None and out.tell() + len(block) > total:
                out.truncate(0)  # a server that says one thing and does another
                raise OSError(f"more than the {total} bytes that were to come")
            out.write(block)
            bar.update(len(block))
            report(out.tell(), total)
        out.flush()
        os.fsync(out.fileno())
        came = out.tell()
        out.truncate(came)
    if total is not None and came < total:
        raise OSError(f"the connection ended after {came} of {total} bytes")
