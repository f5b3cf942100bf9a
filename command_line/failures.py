"""What goes wrong in a command: one line with the remedy, and the exit code."""

import re
import sys
from pathlib import Path

from ..files.address_space import address_space_limit, free_address_space
from ..files.lack_of_memory import is_out_of_memory

EXPECTED = (ValueError, OSError, RuntimeError, MemoryError)
BAD_INPUT, FAILED, INTERRUPTED = 2, 3, 130
LAST_BYTES = 2**22  # of an address space: with fewer left, libraries fail in any way they meet


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, or came where next to none is left."""
    return is_out_of_memory(error) or is_nothing_left()


def is_nothing_left() -> bool:
    """Whether a limited address space is used up."""
    try:
        free = free_address_space()
    except MemoryError:
        return True
    return free is not None and free < LAST_BYTES


def explain(error: BaseException) -> str:
    """One line that says what happened and what to do."""
    if lacks_memory(error):
        limit = address_space_limit()
        allow = "" if limit is None else f"allow more than {limit / 1e6:.0f} MB (ulimit -v), "
        return f"out of memory: {allow}use a smaller picture, or enhance with a smaller --tile"
    text = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split()))
    return text or type(error).__name__


def exit_code(error: BaseException) -> int:
    """2 for what the user gave, 3 for what happened while working on it."""
    return BAD_INPUT if isinstance(error, ValueError) and not lacks_memory(error) else FAILED


def tell(file: Path, error: BaseException) -> str:
    """Print one line about a file that failed, and return it."""
    from tqdm import tqdm

    text = explain(error)
    named = text if str(file) in text else f"{file}: {text}"
    tqdm.write(f"latent-map: {named}", file=sys.stderr)
    return text
