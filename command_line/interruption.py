"""Ctrl-C and its like: once to end with what there is, twice to end at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # not all of them are everywhere


class Interruption:
    """Whether a command was asked to stop, and by what."""

    def __init__(self):
        self._asked, self._raised = threading.Event(), False
        self.signal = signal.SIGINT

    def is_set(self) -> bool:
        """Whether it was."""
        return self._asked.is_set()

    def set(self, number: int) -> None:
        """A signal has come."""
        self.signal = signal.Signals(number)
        self._asked.set()

    def is_new(self) -> bool:
        """Whether it was, for the first who asks: what comes after stopping is not stopped."""
        new = self.is_set() and not self._raised
        self._raised = self._raised or new
        return new

    @property
    def exit_code(self) -> int:
        """As shells give it."""
        return 128 + self.signal


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Within, the first signal is noted and the second one stops at once.

    Those that are ignored, as by nohup or in the background of a script, stay ignored.
    """
    stopped = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number: int, _: object) -> None:
        stopped.set(number)
        for each in previous:
            signal.signal(each, signal.default_int_handler)
        # os.write, because print is not re-entrant: the signal may come in the middle of one.
        text = "\nlatent-map: stopping with the best so far; Ctrl-C again stops at once\n"
        with suppress(OSError):  # the terminal may be gone: SIGHUP says so
            os.write(2, text.encode())

    known = [signal.Signals[name] for name in SIGNALS if name in signal.Signals.__members__]
    handlers = {each: signal.getsignal(each) for each in known}
    previous = {k: v for k, v in handlers.items() if v not in (signal.SIG_IGN, None)}
    for each in previous:
        signal.signal(each, stop)
    try:
        yield stopped
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
