"""Reading files that others made: whatever is wrong with one is one line with its remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .lack_of_memory import is_out_of_memory

FETCH_AGAIN = "fetch it again"
_OURS = (KeyboardInterrupt, SystemExit, GeneratorExit)
_MOST_WORDS = 160  # characters of what a library says


class FileError(ValueError):
    """A file that cannot be used; its text names the file, what is wrong, and what to do."""


@contextmanager
def reading(path: Path | str, what: str, remedy: str = FETCH_AGAIN) -> Iterator[None]:
    """While it lasts, all that goes wrong is the file's fault, and is told in one line.

    Libraries that read files raise whatever they come across in them, down to panics that are no
    `Exception`; no list of types would be complete.

    Args:
        path: the file or folder.
        what: what it should be, as "tokenizer".
        remedy: end of the line.
    Raises: FileError for anything but a lack of memory, the user's interruption, and errors that
        name the file already.
    """
    try:
        yield
    except FileNotFoundError as error:
        named = error.filename or path
        raise FileError(f"no {what} at {named}: check the name, or {remedy}") from error
    except IsADirectoryError as error:
        named = error.filename or path
        raise FileError(f"{named} is a folder and no {what}: {remedy}") from error
    except BaseException as error:
        told = isinstance(error, ValueError) and str(path) in str(error)
        if isinstance(error, (*_OURS, FileError)) or told or is_out_of_memory(error):
            raise
        raise FileError(f"{path} is damaged or no {what} ({said(error)}): {remedy}") from error


def said(error: BaseException) -> str:
    """What an error says, in one line that is not too long."""
    words = (isinstance(error, OSError) and error.strerror) or str(error)
    text = " ".join(words.split()) or type(error).__name__
    if isinstance(error, (KeyError, IndexError, AttributeError, RecursionError)):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 3] + "..."
