"""latent-map study run: every entrant's result of every picture."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import argument, option
from ..device import check_device, device_option
from ..failures import FAILED

if TYPE_CHECKING:
    from ...comparison.executors import Workers
    from ...comparison.jobs import Job, Outcome

log = logging.getLogger(__name__)
MOST_WORKERS = 1024
LINE_EVERY = 30.0  # seconds between two lines where there is no terminal for a bar


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which study, and who works."""

    study: Path = argument("STUDY.toml: see docs/study.md")
    workers: int | None = option(
        "processes on this machine; default: one a GPU with --device cuda, else this one alone",
        default=None,
    )
    scheduler: str | None = option(
        "address of a Dask scheduler, whose workers see the study's folder under the same path; "
        "start them with --nthreads 1, and set DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=2 "
        "for the scheduler",
        default=None,
    )
    device: str = device_option()


def run(options: Options) -> int:
    """Make every entrant's result of every picture that is not there yet.

    Whatever ended a run before, the same command goes on: finished results are found by what they
    were made from. Failed jobs are told, listed in results.csv, and tried again by the next run.
    Returns: 0, or 3 if a job failed.
    """
    from ...comparison.jobs import COLUMNS, done_record, plan_jobs, results_table, run_job
    from ...comparison.own_tables import check_own_table
    from ...comparison.run_jobs import run_jobs
    from ...comparison.study_file import load_study
    from ...files.written import check_folder, remove_leftovers, write_atomically
    from .inputs import prepare

    _check(options)
    study = load_study(options.study)
    check_folder(study.folder)
    check_own_table(study.folder / "results.csv", COLUMNS)
    remove_leftovers(study.folder)
    jobs = plan_jobs(study, prepare(study), options.device)
    missing = [job for job in jobs if not done_record(job)]
    print(f"{study.folder}: {len(jobs)} jobs, {len(jobs) - len(missing)} done before")
    failed = 0
    try:
        if missing:
            with _workers(options) as workers:
                print(f"working: {workers.words}", flush=True)
                failed = _follow(run_jobs(missing, run_job, workers), missing)
    finally:
        write_atomically(study.folder / "results.csv", results_table(jobs).encode())
    print(f"{study.folder / 'results.csv'}: {len(jobs) - failed} done, {failed} failed")
    return FAILED if failed else 0


def check_workers(count: int) -> None:
    """Raise ValueError for a number of processes that there cannot be."""
    if not 1 <= count <= MOST_WORKERS:
        raise ValueError(f"{count} workers: give 1 to {MOST_WORKERS}")


def _check(options: Options) -> None:
    if options.workers is not None:
        check_workers(options.workers)
    if options.workers is not None and options.scheduler is not None:
        raise ValueError("--workers is for this machine: leave it or --scheduler out")
    if options.scheduler is None:
        check_device(options.device)


@contextmanager
def _workers(options: Options) -> Iterator[Workers]:
    from ...comparison.executors import cluster, in_process, process_pool, visible_gpus

    if options.scheduler is not None:
        with cluster(options.scheduler) as workers:
            yield workers
        return
    gpus = []
    if options.device == "cuda":
        import torch

        gpus = visible_gpus(torch.cuda.device_count())
    count = options.workers or max(1, len(gpus))
    if gpus and count > len(gpus):
        raise ValueError(f"{count} workers, but {len(gpus)} GPUs: give one worker a GPU at most")
    if count == 1:
        yield in_process()
        return
    with process_pool(count, gpus) as workers:
        yield workers


def _follow(outcomes: Iterator[tuple[Job, Outcome | Exception]], jobs: Sequence[Job]) -> int:
    """Tell of jobs as they end, with the time that is left. Returns: how many failed."""
    from tqdm import tqdm

    from ...comparison.jobs import one_line, write_failure

    failed, told, start = 0, time.monotonic(), time.monotonic()
    with tqdm(total=len(jobs), unit="job", disable=None, smoothing=0.05) as bar:
        for done, (job, outcome) in enumerate(outcomes, 1):
            if isinstance(outcome, Exception):
                error = write_failure(job, one_line(outcome)).error
            else:
                error = outcome.error
            if error:
                failed += 1
                named = f"{job.entrant.name}, {job.picture}"
                tqdm.write(f"latent-map: {named}: {error}", file=sys.stderr)
            bar.update()
            if bar.disable and time.monotonic() - told >= LINE_EVERY:
                told = time.monotonic()
                left = (told - start) / done * (len(jobs) - done)
                log.info("%d of %d jobs, %d failed, %s left", done, len(jobs), failed, _span(left))
    return failed


def _span(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"about {minutes} min" if minutes else "less than a minute"
    return f"about {hours} h {minutes} min"
