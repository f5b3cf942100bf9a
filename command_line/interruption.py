"""Ctrl-C: once to end with what there is, twice to end at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Within, the first Ctrl-C sets the event and the second one stops at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(*_: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # os.write, because print is not re-entrant: the signal may come in the middle of one.
        text = "\nlatent-map: stopping with the best so far; Ctrl-C again stops at once\n"
        os.write(2, text.encode())

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, previous)
