"""Whole files of a small study, to be damaged: see `fuzz_files`."""

from pathlib import Path

import torch
from latent_map.comparison.jobs import plan_jobs, run_job
from latent_map.comparison.material import read_pairs
from latent_map.comparison.preparation import prepare_pictures
from latent_map.comparison.selection import finished_results, select_pairs, write_pairs
from latent_map.comparison.session import Session
from latent_map.comparison.session_settings import SessionSettings
from latent_map.comparison.staleness import check_selection
from latent_map.comparison.study_file import check_rooms, load_study
from latent_map.comparison.viewing import add_viewing
from latent_map.comparison.votes import Vote, append_vote, read_votes
from latent_map.files.pictures import Picture, write_picture

from benchmarks.fuzz_damage import Kind

STUDY = """
[pictures]
folder = "photos"
side = 0

[[entrant]]
name = "input"
untouched = true

[[entrant]]
name = "other"
folder = "other"

[selection]
measure = "ms_ssim"
features = "colours_and_edges"
"""
SETTINGS = SessionSettings(training=0, traps=0)


def study_kinds(work: Path) -> dict[str, Kind]:
    """Those of a study that people may have written, or that a session goes on with."""
    file, place = _made(work), work / "study"
    session, screens = place / "sessions" / "main", "sessions/main/viewing.json"
    uses = {
        "study file": (work, file.name, lambda: check_rooms(load_study(file))),
        "pairs of a study": (place, "pairs.csv", lambda: read_pairs(place / "pairs.csv")),
        "record of a selection": (place, "selection.json", lambda: check_selection(place)),
        "record of a session": (
            *(place, f"{session.relative_to(place)}/session.json"),
            lambda: Session(place, "main", SETTINGS),
        ),
        "trials of a session": (
            *(place, f"{session.relative_to(place)}/trials.csv"),
            lambda: Session(place, "main", SETTINGS),
        ),
        "screens of a session": (
            *(place, screens),
            lambda: add_viewing(place / screens, "Ann", {"lux": 9}),
        ),
        "votes": (place, "votes/main.csv", lambda: read_votes(place / "votes")),
    }
    return {name: Kind(folder, [inside], use) for name, (folder, inside, use) in uses.items()}


def _made(work: Path) -> Path:
    """A study of two pictures and two entrants, selected, with a session of one observer."""
    for number, name in enumerate(("photos", "other")):
        (work / name).mkdir(parents=True)
        for picture in range(2):
            generator = torch.Generator().manual_seed(10 * number + picture)
            pixels = torch.rand(1, 3, 48, 48, generator=generator)
            write_picture(work / name / f"picture{picture}.png", Picture(pixels))
    file = work / "study.toml"
    file.write_text(STUDY, encoding="utf-8")
    study = load_study(file)
    inputs = list(prepare_pictures(study.pictures, study.inputs))
    jobs = plan_jobs(study, inputs, "cpu")
    for job in jobs:
        run_job(job)
    results = finished_results(jobs)
    write_pairs(study, *select_pairs(study, inputs, results, "cpu"), results)
    Session(study.folder, "main", SETTINGS).begin("Ann", False, {"lux": 5})
    for trial in range(4):
        vote = Vote("Ann", "main", f"picture{trial % 2}", "input", "other", trial < 3, trial=trial)
        append_vote(study.folder / "votes" / "main.csv", vote)
    return file
