"""Files in parts small enough to travel, and joined again."""

import hashlib
from pathlib import Path


def split_file(path: Path, megabytes: float, folder: Path | None = None) -> list[Path]:
    """Write a file again in parts, PATH.0, PATH.1, ..., with its checksum in PATH.sha256.

    Args:
        path: the file; it stays.
        megabytes: of a part at most, 1e6 bytes each.
        folder: where the parts go; beside the file by default.
    Returns: the parts in order; `cat` joins them too.
    """
    content, size = path.read_bytes(), int(megabytes * 1e6)
    target = path if folder is None else folder / path.name
    for old in _parts(target):
        old.unlink()
    parts = []
    for number, start in enumerate(range(0, len(content), size)):
        parts.append(target.with_name(f"{target.name}.{number}"))
        parts[-1].write_bytes(content[start : start + size])
    checksum = hashlib.sha256(content).hexdigest()
    target.with_name(f"{target.name}.sha256").write_text(f"{checksum}  {target.name}\n")
    return parts


def join_file(parts: Path, path: Path) -> None:
    """Write the file that `split_file` has split.

    Args:
        parts: where the parts are, without their numbers.
        path: the file to write.
    Raises: ValueError if parts or checksum are missing, or the whole is not what was split.
    """
    checksum = parts.with_name(f"{parts.name}.sha256")
    numbered = _parts(parts)
    if not numbered or not checksum.exists():
        raise ValueError(f"{parts}.0 or {checksum.name} is missing: fetch all parts again")
    content = b"".join(part.read_bytes() for part in numbered)
    if hashlib.sha256(content).hexdigest() != checksum.read_text().split()[0]:
        raise ValueError(
            f"the {len(numbered)} parts of {parts} do not give the file that was split: one is "
            "missing or damaged; fetch all parts again"
        )
    path.write_bytes(content)


def _parts(path: Path) -> list[Path]:
    """The parts that there are, in order."""
    endings = (part.suffix[1:] for part in path.parent.glob(f"{path.name}.*"))
    numbers = sorted(filter(str.isdigit, endings), key=int)
    return [path.with_name(f"{path.name}.{number}") for number in numbers]
