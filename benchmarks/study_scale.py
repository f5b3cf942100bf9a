"""A study of 500 pictures and 8 entrants: what it costs, and whether a cluster loses a job of it.

    python -m benchmarks.study_scale                       # the table of costs
    python -m benchmarks.study_scale --jobs 4000 --kill-every 8 --seed 1

The second form really runs jobs, on a Dask cluster of two processes of this machine; what is
simulated is their work: each sleeps 50 ms and writes a file. Workers are killed at random.
"""

import argparse
import hashlib
import json
import math
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_map.comparison.executors import cluster
from latent_map.comparison.run_jobs import run_jobs
from latent_map.files.written import write_atomically
from latent_map.map_estimation.gradient_check import NETWORK_CALLS
from latent_map.map_estimation.settings import PRESETS
from latent_map.map_estimation.work import Work

PICTURES, ENTRANTS, PER_PAIR, OBSERVERS = 500, 8, 20, 25
# Measured on one H200: SD 2.x with its ControlNet at full size, random weights, bf16, batch 1, at
# 512 px: seconds of a network call, and of one with its gradient.
CALLS = {"eager": (0.0418, 0.1238), "replayed CUDA graphs": (0.0133, 0.0270)}
ENCODE, DECODE = 0.015, 0.027  # of its autoencoder, float32
SLEEP = 0.05  # seconds of a simulated job


def work_of_preset(name: str) -> Work:
    """The network calls of a preset with EDICT and one picture, at most."""
    settings = PRESETS[name]
    calls = 2 * settings.inversion.steps
    ways = 1 + settings.check_round_trip
    start = settings.draws if settings.start == "estimate" else 0
    start += NETWORK_CALLS * settings.check_gradient
    return Work(calls, ways, settings.iterations, start)


def seconds_of(work: Work, call: float, call_and_gradient: float) -> float:
    """How long a picture takes, without its prior: calls without a gradient, and with one."""
    plain = work.start + work.before * work.reconstruction
    decoded = 2 * (work.before + 2 * work.iterations)  # both of the pair; a gradient as its call
    steps = work.iterations * work.reconstruction
    return plain * call + steps * call_and_gradient + ENCODE + decoded * DECODE


def costs(picture_bytes: int, record_bytes: int) -> str:
    """The table of what the study takes."""
    jobs, pairs = PICTURES * ENTRANTS, ENTRANTS * (ENTRANTS - 1) // 2
    lines = [
        f"{PICTURES} pictures x {ENTRANTS} entrants = {jobs} jobs",
        f"{pairs} pairs of entrants x {PER_PAIR} = {pairs * PER_PAIR} pairs to be shown, "
        f"x {OBSERVERS} observers = {pairs * PER_PAIR * OBSERVERS} votes",
        f"D1: {pairs * PICTURES} evaluations; D2: {PICTURES} features",
        "",
        "| preset | calls without / with gradient | how | a job | all, on one GPU | on 8 GPUs |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("paper", "fast"):
        work = work_of_preset(name)
        plain = work.start + work.before * work.reconstruction
        for how, (call, both) in CALLS.items():
            job = seconds_of(work, call, both)
            hours = job * jobs / 3600
            lines.append(
                f"| {name} | {plain} / {work.iterations * work.reconstruction} | {how} | "
                f"{job:.1f} s | {hours:.0f} h | {hours / 8:.1f} h |"
            )
    results = jobs * (picture_bytes + record_bytes) + PICTURES * picture_bytes
    lines += [
        "",
        f"storage: {jobs + PICTURES} pictures of {picture_bytes / 1e6:.2f} MB and {jobs} records "
        f"of {record_bytes / 1e3:.1f} kB = {results / 1e9:.2f} GB; "
        f"{pairs * PICTURES * 150 / 1e6:.0f} MB of distances, "
        f"{PICTURES * 512 * 8 / 1e6:.0f} MB of features",
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class SimulatedJob:
    """A job that sleeps and writes a file."""

    folder: str
    number: int


def simulated_work(job: SimulatedJob) -> str:
    """Sleep, write the result unless it is there, and log that it was made. Returns: its hash."""
    target = Path(job.folder) / f"{job.number}.txt"
    if target.is_file():
        return hashlib.sha256(target.read_bytes()).hexdigest()
    time.sleep(SLEEP)
    content = f"result of job {job.number}".encode()
    write_atomically(target, content)
    made = hashlib.sha256(content).hexdigest()
    with (Path(job.folder) / "made.log").open("a") as log:
        log.write(f"{job.number} {made}\n")
    return made


def simulate(count: int, kill_every: float, seed: int) -> dict[str, Any]:
    """Run simulated jobs on a cluster of two processes while these are killed and replaced."""
    import dask
    from distributed import LocalCluster

    config = {"distributed.scheduler.allowed-failures": 2, "distributed.admin.log-format": ""}
    stopped, kills = threading.Event(), []
    with (
        tempfile.TemporaryDirectory() as folder,
        dask.config.set(config),
        LocalCluster(n_workers=0, dashboard_address=":0") as local,
    ):
        address = str(local.scheduler_address)  # pyright: ignore[reportAttributeAccessIssue]
        keeper = threading.Thread(
            target=_keep_two, args=(address, kill_every, seed, kills, stopped)
        )
        keeper.start()
        try:
            with cluster(address) as workers:
                start = time.monotonic()
                jobs = [SimulatedJob(folder, number) for number in range(count)]
                done = run_jobs(jobs, simulated_work, workers)
                outcomes = {job.number: result for job, result in done}
                wall = time.monotonic() - start
        finally:
            stopped.set()
            keeper.join()
        return {**_judge(Path(folder), outcomes, count), **_speed(count, wall), "kills": len(kills)}


def _keep_two(
    address: str, kill_every: float, seed: int, kills: list[int], stopped: threading.Event
) -> None:
    """Keep two workers running, as a cluster's own supervisor would, and kill one now and then."""
    draw, workers = random.Random(seed), [_worker(address), _worker(address)]
    due = time.monotonic() + draw.expovariate(1 / kill_every) if kill_every else math.inf
    while not stopped.wait(0.05):
        if time.monotonic() >= due:
            chosen = draw.choice(workers)
            chosen.kill()
            kills.append(chosen.pid)
            due = time.monotonic() + draw.expovariate(1 / kill_every)
        workers = [w if w.poll() is None else _worker(address) for w in workers]
    for worker in workers:
        worker.kill()
        worker.wait()


def _worker(address: str) -> subprocess.Popen:
    # Without a nanny: a nanny whose worker dies while it starts never starts another.
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny"]
    command += ["--nthreads", "1", "--no-dashboard", "--local-directory", tempfile.gettempdir()]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _judge(folder: Path, outcomes: dict[int, Any], count: int) -> dict[str, Any]:
    """What was lost, and what was made twice, by the files and by the log of all that was made."""
    wanted = {
        number: hashlib.sha256(f"result of job {number}".encode()).hexdigest()
        for number in range(count)
    }
    made: dict[int, list[str]] = defaultdict(list)
    for line in (folder / "made.log").read_text().splitlines():
        number, result = line.split()
        made[int(number)].append(result)
    on_disk = {
        number: hashlib.sha256(path.read_bytes()).hexdigest()
        for number in range(count)
        if (path := folder / f"{number}.txt").is_file()
    }
    errors = Counter(type(o).__name__ for o in outcomes.values() if isinstance(o, Exception))
    return {
        "jobs": count,
        "told": len(outcomes),
        "files": len(on_disk),
        "lost": count - len(on_disk),
        "given up": dict(errors),
        "made twice or more": sum(len(results) > 1 for results in made.values()),
        "to another result": sum(on_disk.get(n) != w for n, w in wanted.items() if n in on_disk)
        + sum(len(set(results)) > 1 for results in made.values())
        + sum(o != wanted[n] for n, o in outcomes.items() if not isinstance(o, Exception)),
    }


def _speed(count: int, wall: float) -> dict[str, float]:
    return {
        "seconds": round(wall, 1),
        "jobs a second": round(count / wall, 1),
        "overhead a job in ms": round(1000 * (2 * wall / count - SLEEP), 2),
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the costs, or run the simulation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--picture-bytes", type=int, default=480_000, help="of a 512 x 512 PNG")
    parser.add_argument("--record-bytes", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=0, help="simulated jobs; 0 prints the costs")
    parser.add_argument("--kill-every", type=float, default=0, help="seconds, in the mean; 0 never")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if not given.jobs:
        print(costs(given.picture_bytes, given.record_bytes))
        return
    print(json.dumps(simulate(given.jobs, given.kill_every, given.seed), indent=1))


if __name__ == "__main__":
    main()
