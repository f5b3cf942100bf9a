"""What was fetched before: checksums by address, so that a file that changes is noticed."""

import datetime
import hashlib
import json
import logging
import os
from pathlib import Path

from filelock import FileLock, Timeout

from .json_files import parse_json
from .written import check_folder, write_atomically

log = logging.getLogger(__name__)
FOLDER_VARIABLE = "LATENT_MAP_CACHE"
LEDGER = "downloads.json"
PATIENCE_SECONDS = 10.0


def records_folder() -> Path:
    """Where the ledger and the locks are: LATENT_MAP_CACHE, or the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.path.expanduser(chosen)) if chosen else Path(base) / "latent-map"


def lock_of(target: Path) -> FileLock | None:
    """The lock of one target, held while it is fetched; None, with a warning, where none can be."""
    folder = records_folder() / "locks"
    try:
        check_folder(folder)
    except ValueError as error:
        log.warning("nothing keeps two programs from fetching one file: %s", error)
        return None
    name = hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:32]
    return FileLock(folder / f"{name}.lock")


def compare(url: str, digest: str) -> str | None:
    """Compare a file with what its address gave the first time; record it if this is the first.

    Args:
        url: the address.
        digest: SHA-256 of what is there now.
    Returns: what is wrong, None if nothing.
    """
    ledger = records_folder() / LEDGER
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{ledger}.lock", timeout=PATIENCE_SECONDS):
            known = _read(ledger)
            first = known.get(url)
            if not isinstance(first, dict) or not isinstance(first.get("sha256"), str):
                day = datetime.date.today().isoformat()
                known[url] = {"sha256": digest, "first": day}
                write_atomically(ledger, json.dumps(known, indent=1, sort_keys=True).encode())
                return None
    except (OSError, Timeout) as error:
        log.warning("checksums are not recorded: %s (%s)", ledger, error)
        return None
    if first["sha256"] == digest:
        return None
    return (
        f"its sha256 is {digest}, and was {first['sha256']} on {first.get('first')}: its publisher "
        f"has changed it, or somebody on the way; if you trust it, delete its entry in {ledger}"
    )


def _read(ledger: Path) -> dict:
    if not ledger.exists():
        return {}
    try:
        content = parse_json(ledger, "list of downloads", "delete it")
    except ValueError as error:
        log.warning("%s", error)
        return {}
    return content if isinstance(content, dict) else {}
