"""Whatever ends a run, its state is on the disk, and goes on to the same picture."""

import json
import os
import signal

import pytest
import torch
from latent_map.benchmarks import kill_runs
from latent_map.command_line import enhance_jobs
from latent_map.edict import backbones
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.state_file import load_state
from latent_map.map_estimation import resume
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.kept_runs import StateFile
from latent_map.map_estimation.resume import STATE_KIND
from latent_map.map_estimation.settings import MapSettings
from latent_map.map_estimation.solver import MapSolver
from latent_map.map_estimation.work import WatchedBackbone

from .sample_files import QUICK, out_of_room
from .toys import PRIOR, ToyBackbone, edict, picture

LONGER = ("--prior", "niqe", "--steps", "2", "--iterations", "3")
SETTINGS = MapSettings(inversion=edict(3), iterations=4, memory="store", optimizer="adam")


def run_toy(state, callback=None, **chosen):
    arguments = (
        picture(),
        ToyBackbone(),
        PRIOR,
        load_fidelity("low_resolution"),
        SETTINGS,
        callback,
        state,
    )
    return enhance(*arguments, **chosen)[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forks")
def test_runs_killed_at_random_go_on_to_the_same_picture(tmp_path, monkeypatch, loaded_once):
    monkeypatch.setattr(backbones, "load_backbone", loaded_once)
    loaded_once("pocket", "cpu", False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(kill_runs, "RUN", ("--iterations", "8", *kill_runs.RUN[2:]))
    kills, equal, _ = kill_runs.kill_runs(tmp_path, 3)
    torch.set_num_threads(threads)
    assert len(kills) == 3
    assert all(kill.whole for kill in kills)
    assert all(equal)


def test_a_state_is_written_while_a_run_goes_on(tmp_path, monkeypatch):
    state, seen = tmp_path / "run.state", []

    def look(step):
        there = state.exists()
        seen.append(int(load_state(state, STATE_KIND)[0]["iteration"]) if there else None)

    run_toy(state, look)
    assert seen == [None] * 5  # ten seconds are not over
    monkeypatch.setattr(resume, "KEEP_EVERY", 0.0)
    monkeypatch.setattr(resume, "KEEP_SHARE", 1e9)
    seen.clear()
    run_toy(state, look)
    assert seen == [None, 1, 2, 3, 4]
    assert not state.exists()


def test_writing_states_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "KEEP_EVERY", 0.0)
    now, written = [0.0], []

    def save(*_):
        written.append(now[0])
        now[0] += 30.0  # a huge picture on a slow disk

    monkeypatch.setattr(resume, "save_state", save)
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(resume, "state_of", lambda _: {"x": torch.zeros(1)})
    description = {"settings": {"inversion": {}}}
    solver = type("Solver", (), {"space": type("Space", (), {"tile": None})})
    kept = resume._KeptState(solver, StateFile(tmp_path / "a"), description)
    while now[0] < 6000:
        now[0] += 1.0
        kept.keep_if_due()
    assert len(written) * 30.0 <= 1.1 * resume.KEEP_SHARE * now[0]
    assert len(written) > 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_a_step_that_was_half_done_is_not_kept(tmp_path, monkeypatch, error):
    state, whole = tmp_path / "run.state", run_toy(tmp_path / "other.state")
    moves, move = [], MapSolver._move

    def broken(solver, *arguments):
        move(solver, *arguments)
        moves.append(1)
        if len(moves) == 3:
            raise error

    monkeypatch.setattr(resume, "KEEP_EVERY", 0.0)
    monkeypatch.setattr(resume, "KEEP_SHARE", 1e9)
    monkeypatch.setattr(MapSolver, "_move", broken)
    with pytest.raises(error):
        run_toy(state)
    assert int(load_state(state, STATE_KIND)[0]["iteration"]) == 2
    monkeypatch.setattr(MapSolver, "_move", move)
    assert torch.equal(run_toy(state).x, whole.x)


def test_a_link_to_a_state_stays_and_what_it_points_to_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "KEEP_EVERY", 0.0)
    (tmp_path / "link.state").symlink_to("run.state")
    run_toy(tmp_path / "link.state")
    assert (tmp_path / "link.state").is_symlink()
    assert not (tmp_path / "run.state").exists()


@pytest.mark.parametrize("fails", [False, True])
def test_the_state_goes_when_the_picture_is_on_the_disk(folder, run, monkeypatch, fails):
    monkeypatch.setattr(resume, "KEEP_EVERY", 0.0)
    seen, write = [], enhance_jobs.write_picture

    def watched(path, written):
        seen.append((folder / "a.state").exists())
        return out_of_room() if fails else write(path, written)

    monkeypatch.setattr(enhance_jobs, "write_picture", watched)
    code, _, _ = run("enhance", "good.png", "-o", "b.png", *QUICK, "--state", "a.state")
    assert seen[0]
    assert (folder / "a.state").exists() == fails
    assert code == (3 if fails else 0)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_every_way_to_ask_for_the_end_keeps_state_and_best(folder, run, monkeypatch, name, code):
    def asking(image, backbone, prior, fidelity, settings, show, *rest):
        def ask(step):
            if step.row.iteration == 1:
                signal.raise_signal(signal.Signals[name])
            show(step)

        return enhance(image, backbone, prior, fidelity, settings, ask, *rest)

    monkeypatch.setattr(enhance_jobs, "enhance", asking)
    before = signal.getsignal(signal.Signals[name])
    got, out, _ = run("enhance", "good.png", "-o", "b.png", *LONGER, "--state", "a.state")
    assert got == code
    assert "; cancelled\n" in out
    assert (folder / "a.state").exists()
    assert (folder / "b.png").exists()
    assert signal.getsignal(signal.Signals[name]) == before


def test_a_signal_that_is_ignored_stays_ignored(folder, run, monkeypatch):
    def asking(*arguments):
        signal.raise_signal(signal.SIGHUP)
        return enhance(*arguments)

    monkeypatch.setattr(enhance_jobs, "enhance", asking)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert run("enhance", "good.png", "-o", "b.png", *QUICK)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("draw", [1, 3])
def test_the_start_is_interrupted_between_its_draws(folder, run, monkeypatch, loaded_once, draw):
    calls = []

    def watched(*arguments, **options):
        def called(_):
            calls.append(1)
            if len(calls) == draw:
                signal.raise_signal(signal.SIGINT)

        return WatchedBackbone(loaded_once(*arguments, **options), called)

    monkeypatch.setattr(backbones, "load_backbone", watched)
    command = ("enhance", "good.png", "-o", "old.png", *LONGER, "--start", "estimate")
    code, out, _ = run(*command, "--draws", "50", "--report", "r.json", "--typicality", "0.1")
    assert code == 130
    assert "nothing was written" in out
    assert len(calls) <= draw + 1
    assert (folder / "old.png").read_bytes() == b"an older picture"
    assert "stopped" in json.loads((folder / "r.json").read_text())["good.png"]


def test_a_folder_s_report_is_written_as_it_goes(folder, run, monkeypatch):
    for name in ("a.png", "b.png"):
        (folder / "void" / name).write_bytes((folder / "good.png").read_bytes())
    seen = []

    def looking(*arguments):
        there = (folder / "r.json").exists()
        seen.append(list(json.loads((folder / "r.json").read_text())) if there else [])
        return enhance(*arguments)

    monkeypatch.setattr(enhance_jobs, "enhance", looking)
    assert run("enhance", "void", "-o", "out", *QUICK, "--report", "r.json")[0] == 0
    assert seen == [[], ["a.png"]]
