"""Files written whole or not at all, and never in the place of what is no file."""

import errno
import logging
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .windows_names import WINDOWS, flaw_on_windows

log = logging.getLogger(__name__)
PART = ".latent-map-"  # begins the name of a file that is being written
PART_NAME = re.compile(re.escape(PART) + "[0-9a-f]{16}")
PAUSES = (0.05, 0.1, 0.2, 0.4)  # seconds between tries to replace a file that is looked at
LEFT_OVER = 3600.0  # seconds after which nobody is writing it any more


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside `path` and move it there: readers see the old or the new one, whole.

    What a link points to is written, and the link stays. A device or a pipe is written into; a pipe
    that nobody reads is refused, so that nothing waits for ever.

    Raises: OSError naming `path`, with the half-written file removed and the old one untouched.
    """
    try:
        if is_stream(path):
            _write_into(path, content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        reason = error.strerror or str(error)
        text = f"cannot write {path} ({reason}): free some space or choose another folder"
        raise OSError(error.errno, text) from error


def _replace(path: Path, content: bytes) -> None:
    with written_beside(path) as part, part.open("xb") as file:
        file.write(content)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Within, a file with a name of its own is written; at the end it is on the disk as `path`.

    Where that fails, what was written is removed, and a file that was there stays as it was.
    """
    part = _part_of(path)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, part)
        _move(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _move(part: Path, path: Path) -> None:
    """Move a file into another's place; Windows refuses while somebody looks at that one."""
    for pause in PAUSES:
        try:
            return os.replace(part, path)
        except PermissionError:
            time.sleep(pause)
    return os.replace(part, path)


def remove(path: Path) -> None:
    """Remove a file; of a link what it points to, as that is what was written.

    A device, a pipe or a folder stays, as nobody could make it again.
    """
    target = Path(os.path.realpath(path))
    if target.is_file():
        target.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove a file whose work is done; one that cannot be removed stays, with a warning."""
    try:
        remove(path)
    except OSError as error:
        log.warning("%s could not be removed: %s", path, error)


def _part_of(path: Path) -> Path:
    return path.with_name(f"{PART}{secrets.token_hex(8)}")


def remove_leftovers(folder: Path, seconds: float = LEFT_OVER) -> int:
    """Remove what writers that were killed left half-written in a folder and those below it.

    Args:
        seconds: so old at least: another process may be writing now.
    Returns: how many files.
    """
    parts = [path for path in folder.rglob(f"{PART}*") if PART_NAME.fullmatch(path.name)]
    old = [path for path in parts if time.time() - path.lstat().st_mtime > seconds]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _sync_folder(folder: Path) -> None:
    """Make a new name last through a loss of power; only some systems can, and need it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _write_into(path: Path, content: bytes) -> None:
    if sys.platform == "win32":
        handle = os.open(path, os.O_WRONLY)
    else:
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(handle, True)
    with open(handle, "wb") as file:
        file.write(content)


def is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket, also through links."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_writable(path: Path, size: int = 0, streams: bool = False) -> None:
    """Raise ValueError if `size` bytes could not be written there, before any work is done.

    Args:
        path: a file that may be there already.
        size: bytes.
        streams: whether a device or a pipe will do.
    """
    _check_name(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file name")
    if is_stream(path):
        if not streams or not os.access(path, os.W_OK) or stat.S_ISSOCK(path.stat().st_mode):
            raise ValueError(f"{path} is a device or a pipe: give the name of a file")
        return
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    folder = path.parent
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: make it first")
    _try_writing(path)
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ValueError(
            f"the disk of {path} has {free / 1e6:.3g} MB left, up to {size / 1e6:.3g} MB are "
            "needed: free some space or choose another folder"
        )


def check_folder(folder: Path) -> None:
    """Make a folder if need be; raise ValueError if files cannot be written into it.

    Before any work is done, as all that is written there later would be lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise ValueError(f"{folder} cannot be made ({reason}): choose another folder") from error
    _try_writing(folder / "any")


def _check_name(path: Path) -> None:
    """Raise ValueError for a name that no file can have."""
    if WINDOWS and (flaw := flaw_on_windows(path.name)):
        raise ValueError(f"{path} cannot be written ({flaw}): choose another name")
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # told better below
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{path} cannot be written ({reason}): choose another name") from error


def _try_writing(path: Path) -> None:
    """Raise ValueError where no file can be made: a folder's mode does not say all."""
    part = _part_of(path)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except OSError as error:
        raise ValueError(
            f"the folder {path.parent} may not be written to ({error.strerror}): choose another"
        ) from error
    part.unlink()
