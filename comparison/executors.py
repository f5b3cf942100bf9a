"""Where jobs run: in this process, in one process a GPU, or on a Dask cluster.

All are `concurrent.futures.Executor`s, which is all that the runner knows of them. This file loads
no torch: a worker must choose its GPU before that is imported.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ..files.log_lines import log_lines

CONNECTION = 10.0  # seconds that a scheduler may take to answer
LOOK_EVERY = 2.0  # seconds between two looks at who is there
PATIENCE = 120.0  # seconds that a cluster may be without any worker
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def _all_is_well() -> None:
    """Workers in this process cannot be lost."""


@dataclass(frozen=True)
class Workers:
    """Who does the jobs.

    Attributes:
        open: an executor; called again when one has broken.
        window: jobs that are handed out at once.
        check: raises RuntimeError if nobody is left to work; called again and again meanwhile.
        words: for the user: how many, and where.
    """

    open: Callable[[], Executor]
    window: int
    check: Callable[[], None] = _all_is_well
    words: str = ""


class InProcess(Executor):
    """Does each job when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Do it. Returns: a finished future."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def in_process() -> Workers:
    """This process alone."""
    return Workers(InProcess, 1, words="in this process")


def visible_gpus(count: int) -> list[str]:
    """The GPUs of this process as CUDA_VISIBLE_DEVICES names them, of which there are `count`."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = [name.strip() for name in chosen.split(",") if name.strip()]
    return named or [str(index) for index in range(count)]


@contextmanager
def process_pool(count: int, gpus: list[str]) -> Iterator[Workers]:
    """Processes on this machine, which end when this one does, however it does.

    Args:
        count: of processes.
        gpus: a GPU for each of them, or none at all.
    """
    context = multiprocessing.get_context("spawn")  # forks of a process with CUDA cannot use it
    ends: list[Connection] = []

    def open_pool() -> Executor:
        for end in ends:
            end.close()
        here, there = context.Pipe(duplex=False)
        ends[:] = [there]
        free = context.SimpleQueue()
        for gpu in gpus[:count]:
            free.put(gpu)
        threads = 0 if gpus else max(1, (os.cpu_count() or 1) // count)
        start = (here, free if gpus else None, threads)
        return ProcessPoolExecutor(count, context, _begin_worker, start)

    try:
        where = f"GPUs {', '.join(gpus[:count])}" if gpus else "the CPU"
        yield Workers(open_pool, 2 * count, words=f"{count} processes on {where}")
    finally:
        for end in ends:
            end.close()


def _begin_worker(life: Connection, free: Any, threads: int) -> None:
    """Take a GPU, or a share of the cores, and end with the runner."""
    logging.basicConfig(handlers=[log_lines()])  # as the runner's
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's, who ends us
    if free is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = free.get()
    else:
        for variable in THREAD_VARIABLES:
            os.environ[variable] = str(threads)
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()


def _end_with(life: Connection) -> None:
    """End this process once the other end is closed, as it is when the runner ends or dies."""
    try:
        life.poll(None)
    finally:
        os._exit(1)  # in the middle of a job, if need be: results are written whole or not at all


@contextmanager
def cluster(address: str, patience: float = PATIENCE) -> Iterator[Workers]:
    """A Dask cluster whose workers see the study's folder under the same path.

    Workers that offer a resource GPU (`dask worker --resources "GPU=1"`) do one job a GPU; if any
    does, only those work.

    Args:
        address: of the scheduler, as in tcp://host:8786.
        patience: seconds that it may be without any worker.
    Raises: ValueError without Dask, or where nobody answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "a scheduler needs Dask: pip install 'latent-map[cluster]', or leave --scheduler out"
        ) from error
    try:
        client = Client(address, timeout=CONNECTION, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no scheduler answers at {address!r}: start `dask scheduler`, and give the address "
            "that it prints"
        ) from error
    try:
        yield _cluster_workers(client, address, patience)
    finally:
        client.close(timeout=5)


def _cluster_workers(client: Any, address: str, patience: float) -> Workers:
    def workers() -> dict[str, Any]:
        return client.scheduler_info(n_workers=-1)["workers"]

    looked = seen = time.monotonic()

    def check() -> None:
        nonlocal looked, seen
        if time.monotonic() - looked < min(LOOK_EVERY, patience):
            return
        looked = time.monotonic()
        if client.status != "running":
            raise RuntimeError(f"the scheduler at {address} is gone: start it, and run this again")
        if workers():
            seen = looked
        elif looked - seen > patience:
            raise RuntimeError(
                f"{address} has had no worker for {patience:.0f} s: start some, and run this again"
            )

    while not (there := workers()):
        check()
        time.sleep(0.5)
    has_gpus = any("GPU" in worker.get("resources", {}) for worker in there.values())
    options: dict[str, Any] = {"resources": {"GPU": 1}} if has_gpus else {}

    def open_executor() -> Executor:
        # Not pure: jobs write files, and equal calls must not be one. Retries are the runner's.
        return client.get_executor(pure=False, retries=0, **options)

    threads = sum(worker["nthreads"] for worker in there.values())
    return Workers(open_executor, 2 * threads, check, f"{len(there)} workers of {address}")
