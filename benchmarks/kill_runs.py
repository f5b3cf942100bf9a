"""What is left of runs that are killed at random moments: whole states, and the same picture.

    python -m benchmarks.kill_runs --kills 60 --write benchmarks/results/kill_runs.md

A run of a small picture is killed (SIGKILL, SIGTERM, SIGHUP, SIGINT by turns) at a random moment
and started again, until it ends; then another one begins. The state is written every tenth of a
whole run's time instead of every ten seconds, so that many are. Runs are forks of this process,
which has loaded the model.
"""

import argparse
import functools
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from latent_map.__main__ import main as latent_map
from latent_map.edict import backbones
from latent_map.files.pictures import Picture, write_picture
from latent_map.files.state_file import load_state
from latent_map.map_estimation import resume
from latent_map.map_estimation.result import MapResult
from latent_map.map_estimation.resume import STATE_KIND
from latent_map.map_estimation.solver import MapSolver

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
RUN = ("--iterations", "20", "--steps", "2", "--no-check-gradient")
SEED, SIDE = 1, 32
BEGAN = mmap.mmap(-1, 8)  # what a run tells its parent
EVERY, LONGEST = 0.1, 1.2  # of the time that a whole run takes


@dataclass
class Kill:
    """What one kill left.

    Attributes:
        by: the signal.
        after: seconds from the start of the run.
        lost: seconds of iterations that no state holds: from the state's last writing, or the first
            iteration, to the kill.
        iteration: of the state that is left; 0 for none.
        whole: whether the state, if any, could be read.
        code: what the run ended with.
    """

    by: signal.Signals
    after: float
    lost: float
    iteration: int
    whole: bool
    code: int


def note_begin(run: Callable) -> Callable:
    """`MapSolver.run`, which notes for the parent process when it begins with its iterations."""

    def noting(solver: MapSolver, *arguments: Any) -> MapResult:
        BEGAN[:8] = struct.pack("d", time.time())
        return run(solver, *arguments)

    return noting


def start_run(folder: Path, every: float) -> int:
    """Begin or go on with a run in a process of its own. Returns: its id."""
    BEGAN[:8] = struct.pack("d", 0.0)
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        resume.KEEP_EVERY, resume.KEEP_SHARE = every, 1.0
        MapSolver.run = note_begin(MapSolver.run)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        state = ("--state", str(folder / "run.state"))
        code = latent_map(
            ["enhance", str(folder / "in.png"), "-o", str(folder / "out.png"), *RUN, *state]
        )
    finally:
        os._exit(code)


def wait(process: int, seconds: float | None = None) -> int | None:
    """How a run ended; None if it has not after these seconds."""
    end = time.monotonic() + (seconds or 0)
    while True:
        pid, status = os.waitpid(process, 0 if seconds is None else os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.002)


def kill_once(folder: Path, every: float, after: float, by: signal.Signals) -> Kill | None:
    """Begin or go on, and kill after some seconds. Returns: None if the run ended before."""
    process = start_run(folder, every)
    if (code := wait(process, after)) is not None:
        if code:
            raise RuntimeError(f"a run that was not killed ended with {code}")
        return None
    state = folder / "run.state"
    written = state.stat().st_mtime if state.exists() else 0.0
    killed = time.time()
    os.kill(process, by)
    code = wait(process)
    if code == 0:  # the signal came when all was done
        return None
    iteration, whole = 0, True
    if state.exists():
        try:
            iteration = int(load_state(state, STATE_KIND)[0]["iteration"])
        except ValueError:
            whole = False
    (began,) = struct.unpack("d", BEGAN[:8])
    lost = max(0.0, killed - max(began, written)) if began else 0.0
    return Kill(by, after, lost, iteration, whole, code or 0)


def kill_runs(folder: Path, kills: int, seed: int = SEED) -> tuple[list[Kill], list[bool], float]:
    """Kill runs as often as told.

    Returns: the kills; of each run that came to its end whether its picture was bit for bit that of
        a run that was left alone; and after how many seconds a state was due.
    """
    chance = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(1, 3, SIDE, SIDE, generator=generator)
    write_picture(folder / "in.png", Picture(torch.nn.functional.avg_pool2d(picture, 3, 1, 1)))
    out = folder / "out.png"
    start = time.monotonic()
    wait(start_run(folder, 1e9))
    whole = time.monotonic() - start
    every = EVERY * whole
    wanted = out.read_bytes()
    out.unlink()
    done: list[Kill] = []
    equal: list[bool] = []
    while len(done) < kills:
        by = SIGNALS[len(done) % len(SIGNALS)]
        kill = kill_once(folder, every, chance.uniform(0, LONGEST * whole), by)
        if kill is None:
            equal.append(out.read_bytes() == wanted and not (folder / "run.state").exists())
            out.unlink()
        else:
            done.append(kill)
    wait(start_run(folder, every))
    equal.append(out.read_bytes() == wanted)
    return done, equal, every


def report(done: list[Kill], equal: list[bool], every: float, leftovers: int) -> str:
    """The counts as Markdown."""
    head = "| signal | kills | no state yet | most lost, s | damaged states |"
    lines = [
        "# Runs killed at random moments\n",
        f"A state is due every {every:.2f} s. Written by `python -m benchmarks.kill_runs`.\n",
        head,
        "|---" * 5 + "|",
    ]
    for by in SIGNALS:
        of_it = [kill for kill in done if kill.by is by]
        lost = max((kill.lost for kill in of_it), default=0.0)
        damaged = sum(not kill.whole for kill in of_it)
        none = sum(kill.iteration == 0 for kill in of_it)
        lines.append(f"| {by.name} | {len(of_it)} | {none} | {lost:.2f} | {damaged} |")
    lines.append(
        f"\n{len(done)} kills; {len(equal)} runs came to their end, {sum(equal)} of them with the "
        f"same picture bit for bit as a run that was left alone. Parts of files that kills left: "
        f"{leftovers}."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Kill, count, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)  # forks of a process with threads can wait for ever
    backbones.load_backbone = functools.cache(backbones.load_backbone)
    backbones.load_backbone("pocket", "cpu", False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done, equal, every = kill_runs(folder, options.kills)
        text = report(done, equal, every, len(list(folder.glob(".latent-map-*"))))
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    print(text)
    if not all(equal) or not all(kill.whole for kill in done):
        sys.exit(1)


if __name__ == "__main__":
    main()
