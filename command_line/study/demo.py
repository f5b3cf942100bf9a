"""latent-map study demo: a whole small study in a few minutes, with simulated observers."""

import os
from dataclasses import dataclass
from pathlib import Path

from ..arguments import argument, option

MOST_WORKERS = 4  # of eight photographs and four entrants


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where it is made."""

    folder: Path = argument("new folder, or one of an earlier demo", default=Path("study-demo"))
    workers: int | None = option("processes; default: one a core, at most 4", default=None)


def run(options: Options) -> int:
    """Make pictures with four entrants, have simulated observers compare them, and rank them.

    What it writes is a study like any other: its STUDY.toml is one to begin with. Interrupted, the
    same command goes on. Returns: 0, or 3 if a picture failed.
    """
    from ...comparison.demo import ROBOTS, SESSION, simulated_quality, write_demo
    from ...comparison.robots import run_robot
    from ...comparison.session import Session
    from ...comparison.study_file import load_study
    from . import analyse, score, select
    from . import run as make
    from .run import check_workers

    workers = options.workers
    if workers is None:
        workers = max(1, min(MOST_WORKERS, os.cpu_count() or 1))
    check_workers(workers)
    path = write_demo(options.folder)
    if code := make.run(make.Options(study=path, workers=workers)):
        return code
    score.run(score.Options(study=path))
    select.run(select.Options(study=path))
    study = load_study(path)
    session = Session(study.folder, SESSION, study.session)
    quality = simulated_quality(lambda picture, entrant: study.result(entrant, picture))
    for seed in range(ROBOTS):
        run_robot(session, seed, quality)
    print(f"{session.votes_file}: votes of {ROBOTS} simulated observers, who are no people")
    return analyse.run(analyse.Options(study=path))
