"""What is printed never decides what becomes of the work: streams that cannot fail."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Unfailing(io.TextIOBase):
    """A stream for words: what it cannot hold is escaped, and when it is closed they are lost.

    Args:
        stream: to write to; None where a program has none, as on Windows without a console.
    """

    def __init__(self, stream: TextIO | None):
        self._stream = stream
        self.lost = stream is None

    def write(self, text: str) -> int:
        """Write what can be written."""
        if self._stream is not None and not self.lost:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    code = self._stream.encoding or "ascii"
                    self._stream.write(text.encode(code, "backslashreplace").decode(code))
            except (OSError, ValueError):  # a pipe that nobody reads, a full disk, a closed file
                self.lost = True
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        if self._stream is not None and not self.lost:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.lost = True

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        with suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        """The stream's."""
        if self._stream is None:
            raise io.UnsupportedOperation("there is no stream")
        return self._stream.fileno()

    @property
    def encoding(self) -> Any:
        """The stream's."""
        return None if self._stream is None else self._stream.encoding


class Once(logging.Filter):
    """Lets each warning through once: pictures are read to be checked, and again for the work."""

    def __init__(self):
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be told."""
        text = record.getMessage()
        new = record.levelno < logging.WARNING or text not in self._told
        self._told.add(text)
        return new


def nobody_reads() -> bool:
    """Whether what is printed is lost: commands that do nothing but print may end then."""
    return isinstance(sys.stdout, Unfailing) and sys.stdout.lost


@contextmanager
def unfailing_streams() -> Iterator[None]:
    """Within, nothing that prints, logs or draws a bar can fail."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Unfailing(sys.stdout), Unfailing(sys.stderr)
    try:
        yield
    finally:
        for own, number in ((sys.stdout, 1), (sys.stderr, 2)):
            own.flush()
            if isinstance(own, Unfailing) and own.lost:
                _lead_nowhere(number)
        sys.stdout, sys.stderr = before


def _lead_nowhere(number: int) -> None:
    """Let what is left in a broken stream's buffer go, which the interpreter flushes at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
