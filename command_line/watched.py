"""Work under a limit of the address space, watched by a process that survives it.

Where memory ends, PyTorch's libraries may end the process by a signal, which no program can catch.
"""

import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress

from ..files.address_space import address_space_limit
from .failures import FAILED, is_nothing_left
from .interruption import SIGNALS

LACK = {"SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGPROF"}  # how libraries end, and who hangs
LIBRARIES = (1, 127)  # how OpenBLAS does, and the loader of shared libraries
# Python, too, may find no memory for an error, and try for ever. Work that computes so long without
# letting another thread run is ended. The seconds of all its threads count: 200 cores have used up
# these in 0.15 s.
BEAT, HANGING = 0.1, 30.0
UNEXPECTED = 70  # an error of our own, which has been shown


def watched(work: Callable[[], int]) -> int:
    """The exit code of the work; under a limit it is done by a child, whose death is told.

    Where PyTorch is loaded already it is too late for that, and the work is done here.
    """
    limit = address_space_limit()
    if limit is None or "torch" in sys.modules:
        return work()
    life, our_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(our_end)
        os.setpgid(0, 0)  # Ctrl-C reaches the parent, which passes on all that it gets
        signal.setitimer(signal.ITIMER_PROF, HANGING)
        threading.Thread(target=_end_with, args=(life,), daemon=True).start()
        return _done(work)
    os.close(life)
    with suppress(OSError):  # it has done so itself
        os.setpgid(child, child)
    return _followed(child, limit)


def _done(work: Callable[[], int]) -> int:
    """The exit code of the work; where no memory is left, Python's own end would fail as well."""
    try:
        code = work()
    except MemoryError:
        os._exit(LIBRARIES[0])
    except Exception:
        traceback.print_exc()
        return UNEXPECTED
    if code == FAILED and is_nothing_left():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _end_with(life: int) -> None:
    """End this process once the other end is closed, as it is when the parent dies, or it hangs."""
    while not _is_closed(life):
        signal.setitimer(signal.ITIMER_PROF, HANGING)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_closed(life: int) -> bool:
    try:
        return bool(select.select([life], [], [], BEAT)[0])
    except MemoryError:
        return False


def _pause(child: int) -> None:
    """Let Ctrl-Z stop the work and those who help in it, too, until this process goes on."""
    os.killpg(child, signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.killpg(child, signal.SIGCONT)


def _followed(child: int, limit: int) -> int:
    known = [signal.Signals[name] for name in SIGNALS if name in signal.Signals.__members__]
    for each in known:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, lambda number, _: os.kill(child, number))
    signal.signal(signal.SIGTSTP, lambda *_: _pause(child))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended = signal.Signals(-code).name if code < 0 else ""
    if code not in LIBRARIES and ended not in LACK:
        return code if code >= 0 else 128 - code
    how = ended or f"exit code {code}"
    print(
        f"latent-map: out of memory: {how} of a process that may map {limit / 1e6:.0f} MB "
        "(ulimit -v): allow more, or use a smaller picture",
        file=sys.stderr,
    )
    return FAILED
