"""What goes wrong in a command: one line with the remedy, and the exit code."""

import re
import sys
from pathlib import Path

EXPECTED = (ValueError, OSError, RuntimeError, MemoryError)
BAD_INPUT, FAILED, INTERRUPTED = 2, 3, 130
# How torch (CUDA, MPS, CPU on Linux and Windows), cuDNN, cuBLAS and the system say it.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",
)


def explain(error: BaseException) -> str:
    """One line that says what happened and what to do."""
    text = re.sub(r"^\[Errno \d+\] ", "", " ".join(str(error).split()))
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _OUT_OF_MEMORY):
        return "out of memory: use a smaller picture or enhance with --memory recompute"
    return text or type(error).__name__


def exit_code(error: BaseException) -> int:
    """2 for what the user gave, 3 for what happened while working on it."""
    return BAD_INPUT if isinstance(error, ValueError) else FAILED


def tell(file: Path, error: BaseException) -> str:
    """Print one line about a file that failed, and return it."""
    from tqdm import tqdm

    text = explain(error)
    named = text if str(file) in text else f"{file}: {text}"
    tqdm.write(f"latent-map: {named}", file=sys.stderr)
    return text
