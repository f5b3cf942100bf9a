"""Jobs handed to an executor a few at a time, through the deaths of workers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from typing import Any, TypeVar

from .executors import Workers

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")
Running = dict[Future, tuple[int, Any]]  # numbered jobs
PULSE = 2.0  # seconds after which it is asked whether anybody is still there
SUSPECT = 2  # deaths in company after which a job runs alone
GUILTY = 2  # deaths alone after which it is given up
HOPELESS = 6  # deaths in a row, with nothing finished between them, after which all is


class WorkerDiedError(RuntimeError):
    """The workers of a job died, again and again."""


def run_jobs(
    jobs: Iterable[Job], run: Callable[[Job], Outcome], workers: Workers
) -> Iterator[tuple[Job, Outcome | Exception]]:
    """Do jobs, which must be such that one begun twice does no harm.

    A process pool breaks as a whole when one of its processes dies, and does not say at which job:
    all that were handed out come again, later; those twice in such company alone; and one at which
    a process dies twice while it is alone is given up.

    Args:
        jobs: what `run` takes; handed out in order, at most `workers.window` at once.
        run: a function that other processes can import.
        workers: who does them.
    Returns: each job with its outcome, or what was raised, as they come.
    Raises: RuntimeError if nobody is left to work, or workers die whatever they begin.
    """
    in_a_row = 0
    waiting, deaths, deaths_alone = deque(enumerate(jobs)), Counter(), Counter()
    running: Running = {}
    executor = workers.open()
    try:
        while waiting or running:
            broken = _hand_out(executor, run, waiting, running, deaths, workers.window)
            done, _ = wait(running, None if broken else PULSE, FIRST_COMPLETED)
            workers.check()
            if not broken and not any(_is_broken(future) for future in done):
                in_a_row = 0 if done else in_a_row
                yield from _finished(done, running)
                continue
            wait(running)  # all break together, but for those that were just finished
            whole = [future for future in running if not _is_broken(future)]
            in_a_row = 1 if whole else in_a_row + 1
            yield from _finished(whole, running)
            if in_a_row >= HOPELESS:
                raise WorkerDiedError(
                    f"workers died {HOPELESS} times in a row: take fewer of them, or --workers 1"
                )
            lost = list(running.values())
            running.clear()
            executor.shutdown(wait=False)
            executor = workers.open()
            (deaths if len(lost) > 1 else deaths_alone).update(index for index, _ in lost)
            waiting.extend(each for each in lost if deaths_alone[each[0]] < GUILTY)
            for index, job in lost:
                if deaths_alone[index] >= GUILTY:
                    yield job, WorkerDiedError(f"its worker died {GUILTY} times: out of memory?")
    finally:
        for future in running:  # Dask's shutdown cannot be told to
            future.cancel()
        executor.shutdown(wait=False)


def _hand_out(
    executor: Executor,
    run: Callable[[Job], Outcome],
    waiting: deque[tuple[int, Job]],
    running: Running,
    deaths: Counter,
    window: int,
) -> bool:
    """Submit jobs up to the window; a suspect alone. Returns: whether the executor is broken."""
    while waiting and len(running) < window:
        in_hand = [*running.values(), waiting[0]]
        if running and any(deaths[index] >= SUSPECT for index, _ in in_hand):
            break
        try:
            running[executor.submit(run, waiting[0][1])] = waiting[0]
        except BrokenExecutor:
            return True
        waiting.popleft()
    return False


def _is_broken(future: Future) -> bool:
    return not future.cancelled() and isinstance(future.exception(), BrokenExecutor)


def _finished(done: Iterable[Future], running: Running) -> Iterator[tuple[Any, Any]]:
    for future in done:
        _, job = running.pop(future)
        error = _error(future)
        yield job, future.result() if error is None else error


def _error(future: Future) -> Exception | None:
    """What a finished job raised."""
    if future.cancelled():
        return RuntimeError("it was cancelled: the scheduler is gone, or was told to")
    error = future.exception()
    if error is not None and not isinstance(error, Exception):
        raise error  # a worker's KeyboardInterrupt is ours
    return error
