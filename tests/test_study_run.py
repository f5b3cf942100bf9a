import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from latent_map.comparison.entrants.ready import Ready
from latent_map.comparison.entrants.restorer import Restorer
from PIL import Image

from .sample_files import contents, out_of_room, pixels
from .study_files import QUICK, READY, UNTOUCHED, write_pictures, write_ready_study, write_study


class Room(NamedTuple):
    total: int
    used: int
    free: int


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in (folder / "study" / "results").rglob("*.png")}


def test_pictures_become_results_with_records(tmp_path, run):
    write_pictures(tmp_path / "photos", 2)
    write_pictures(tmp_path / "other", 2, seed=1)
    path = write_study(tmp_path, UNTOUCHED + READY + QUICK)
    code, out, err = run("study", "run", path)
    assert (code, err) == (0, "")
    assert "6 jobs, 0 done before" in out
    place = tmp_path / "study" / "results"
    for entrant, source in (("input", "photos"), ("other", "other")):
        for name in ("picture0.png", "picture1.png"):
            assert np.array_equal(pixels(place / entrant / name), pixels(tmp_path / source / name))
    record = json.loads((place / "pocket" / "picture0.json").read_text())
    assert record["status"] == "done"
    assert record["run"]["calls"] > 0
    assert record["run"]["trace"][0]["energy"]
    assert record["made_from"]["entrant"]["priors"] == ["pocket"]
    assert {"torch", "latent_map", "python"} <= record["versions"].keys()
    assert record["device"] == "cpu"
    assert record["seconds"] >= record["run"]["enhance_seconds"] > 0
    table = rows(tmp_path / "study" / "results.csv")
    assert [row["status"] for row in table] == ["done"] * 6
    assert 0 < float(table[-1]["quality_after"]) < 1


def test_run_again_it_finds_everything(tmp_path, run):
    path = write_ready_study(tmp_path)
    run("study", "run", path)
    before, times = results(tmp_path), {}
    for file in before:
        times[file] = file.stat().st_mtime_ns
    code, out, _ = run("study", "run", path)
    assert code == 0
    assert "6 jobs, 6 done before" in out
    assert {file: file.stat().st_mtime_ns for file in results(tmp_path)} == times


def test_only_what_follows_from_something_else_is_made_again(tmp_path, run):
    path = write_ready_study(tmp_path)
    run("study", "run", path)
    write_pictures(tmp_path / "other", 1, seed=5)  # another picture0 from the other restorer
    (tmp_path / "study" / "results" / "input" / "picture2.png").write_bytes(b"damaged")
    (tmp_path / "study" / "results" / "input" / "picture1.json").write_text("{")
    _, out, _ = run("study", "run", path)
    assert "6 jobs, 3 done before" in out
    made = pixels(tmp_path / "study/results/other/picture0.png")
    assert np.array_equal(made, pixels(tmp_path / "other/picture0.png"))
    assert [row["status"] for row in rows(tmp_path / "study" / "results.csv")] == ["done"] * 6


def test_other_settings_are_another_job(tmp_path, run):
    write_pictures(tmp_path / "photos", 1)
    run("study", "run", write_study(tmp_path, UNTOUCHED + QUICK))
    path = write_study(tmp_path, UNTOUCHED + QUICK.replace("steps = 2", "steps = 3"))
    assert "2 jobs, 1 done before" in run("study", "run", path)[1]


def test_a_failed_job_is_a_row_and_is_tried_again(tmp_path, run, monkeypatch):
    write_pictures(tmp_path / "photos", 2)
    path = write_study(tmp_path, UNTOUCHED + QUICK)
    make = Restorer.make

    def fail(self, picture, image, device):
        if picture == "picture0":
            raise RuntimeError("the GPU\nis on fire")
        return make(self, picture, image, device)

    monkeypatch.setattr(Restorer, "make", fail)
    code, out, err = run("study", "run", path)
    assert code == 3
    assert "1 failed" in out
    assert err == "latent-map: pocket, picture0: the GPU is on fire\n"
    failed = [row for row in rows(tmp_path / "study" / "results.csv") if row["status"] == "failed"]
    assert [(row["picture"], row["error"]) for row in failed] == [
        ("picture0", "the GPU is on fire")
    ]
    assert run("study", "select", path)[0] == 2
    assert run("study", "select", path, "--allow-missing")[0] in (0, 2)
    monkeypatch.setattr(Restorer, "make", make)
    code, out, _ = run("study", "run", path)
    assert (code, "4 jobs, 3 done before" in out) == (0, True)


def test_a_full_disk_is_one_line(tmp_path, run, monkeypatch):
    path = write_ready_study(tmp_path)
    run("study", "prepare", path)
    monkeypatch.setattr("latent_map.comparison.jobs.write_atomically", out_of_room)
    code, _, err = run("study", "run", path)
    assert code == 3
    assert "Traceback" not in err


def test_no_room_for_a_result_is_found_before_the_work(tmp_path, run, monkeypatch):
    path = write_ready_study(tmp_path)
    run("study", "prepare", path)
    worked = []
    monkeypatch.setattr(Ready, "make", lambda *given: worked.append(given))
    monkeypatch.setattr("latent_map.files.written.shutil.disk_usage", lambda _: Room(9, 9, 900))
    code, _, err = run("study", "run", path)
    assert (code, worked) == (3, [])
    assert "0.0009 MB left, up to 0.0164 MB are needed" in err


def test_what_a_killed_runner_left_half_written_goes_once_it_is_old(tmp_path, run):
    path = write_ready_study(tmp_path)
    run("study", "run", path)
    place = tmp_path / "study" / "results" / "other"
    old, fresh, foreign = (
        place / name
        for name in (f".latent-map-{'0' * 16}", f".latent-map-{'1' * 16}", ".latent-map-mine")
    )
    for file in (old, fresh, foreign):
        file.write_bytes(b"half")
    for file in (old, foreign):
        os.utime(file, (1, 1))
    run("study", "run", path)
    assert [file.exists() for file in (old, fresh, foreign)] == [False, True, True]


@pytest.mark.parametrize(
    "run_part",
    ["x", [1], {}, {"before": {}}, {"before": {"quality": 1}, "trace": [1], "improved": True},
     {"before": {"quality": 1}, "trace": 5, "improved": False},
     {"before": {"quality": 1}, "trace": [], "improved": True, "best_iteration": []}],
)  # fmt: skip
def test_a_record_edited_by_hand_costs_its_cells_alone(tmp_path, run, run_part):
    path = write_ready_study(tmp_path)
    run("study", "run", path)
    record = tmp_path / "study" / "results" / "other" / "picture1.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "run": run_part}))
    assert run("study", "run", path)[0] == 0
    row = rows(tmp_path / "study" / "results.csv")[-2]
    assert (row["picture"], row["status"], row["quality_after"]) == ("picture1", "done", "")


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda f: (f / "other/picture1.png").unlink(), "lacks picture1 of 3 pictures"),
        (lambda f: Image.new("RGB", (9, 9)).save(f / "other/picture1.png"), "is 9x9 pixels"),
        (lambda f: (f / "other/picture1.png").write_bytes(b"no"), "is no readable picture"),
        (lambda f: Image.new("RGB", (64, 64)).save(f / "other/picture1.jpg"), "take one of them"),
        (lambda f: (f / "photos/picture1.png").write_bytes(b"no"), "is no readable picture"),
        (lambda f: (f / "other").rename(f / "gone"), "there is no folder"),
        (lambda f: (f / "photos").rename(f / "gone"), "there is no folder"),
    ],
)
def test_unequal_names_and_sizes_are_refused_before_any_work(tmp_path, run, spoil, complaint):
    path = write_ready_study(tmp_path)
    spoil(tmp_path)
    code, _, err = run("study", "run", path)
    assert code == 2
    assert complaint in err
    assert err.count("\n") == 1
    assert not (tmp_path / "study" / "results").exists()


def test_a_prior_that_pictures_are_too_small_for_is_refused_before_any_work(tmp_path, run):
    write_pictures(tmp_path / "photos", 1)
    path = write_study(tmp_path, UNTOUCHED + QUICK.replace('"pocket"', '"niqe"'))
    code, _, err = run("study", "run", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "needs 96 pixels a side, picture0 is 64x64" in err


def test_pairs_are_chosen_once_for_two_entrants(tmp_path, run):
    path = write_ready_study(tmp_path, 4, selection="per_pair = 2\nrandom = 1")
    Image.open(tmp_path / "photos/picture3.png").save(tmp_path / "other/picture3.png")
    run("study", "run", path)
    code, out, _ = run("study", "select", path)
    assert code == 0
    assert "input / other: 3 of 3 pictures; 1 identical, 0 without a result" in out
    assert "not average ones" in out
    table = rows(tmp_path / "study" / "pairs.csv")
    assert list(table[0])[:10] == (
        ["pair", "rank", "picture", "model_a", "model_b", "d1", "d2", "gamma", "value", "stratum"]
    )
    assert [row["stratum"] for row in table] == ["discrepancy", "discrepancy", "random"]
    assert sorted(row["picture"] for row in table) == ["picture0", "picture1", "picture2"]
    assert float(table[0]["d1"]) == max(float(row["d1"]) for row in table)
    second = table[1]
    value = float(second["d1"]) + 0.1 * float(second["d2"])
    assert float(second["value"]) == pytest.approx(value)
    assert float(second["ratio"]) == pytest.approx(0.1 * float(second["d2"]) / float(second["d1"]))
    before = contents(tmp_path / "study")
    run("study", "select", path)
    assert contents(tmp_path / "study") == before


def test_equal_results_are_nothing_to_show(tmp_path, run):
    write_pictures(tmp_path / "photos", 2)
    write_pictures(tmp_path / "other", 2)
    path = write_study(tmp_path, UNTOUCHED + READY)
    run("study", "run", path)
    code, _, err = run("study", "select", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "there is nothing to show" in err


def test_nothing_is_chosen_before_results_are_there(tmp_path, run):
    path = write_ready_study(tmp_path)
    code, _, err = run("study", "select", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "study run" in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--workers", "0"), "give 1 to 1024"),
        (("--workers", "2", "--scheduler", "tcp://x:1"), "leave it or --scheduler out"),
        (("--device", "cuda:77"), "no device"),
    ],
)
def test_workers_that_cannot_be_are_refused(tmp_path, run, words, complaint):
    code, _, err = run("study", "run", write_ready_study(tmp_path), *words)
    assert (code, err.count("\n")) == (2, 1)
    assert complaint in err


# What is killed, and how the run ends then.
KILLED = {"the runner": ("--workers", "1"), "a runner with two workers": ("--workers", "2")}


def begin(path: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "latent_map", "study", "run", str(path), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for_results(folder: Path, count: int) -> dict[Path, bytes]:
    """The finished results, once there are so many."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        finished = [
            file.with_suffix(".png")
            for file in (folder / "study" / "results").rglob("*.json")
            if '"done"' in file.read_text()
        ]
        if len(finished) >= count:
            return {file: file.read_bytes() for file in finished}
        time.sleep(0.01)
    raise AssertionError("the run made no results")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A study, and its results when nothing happens to it."""
    from latent_map.__main__ import main

    folder = tmp_path_factory.mktemp("uninterrupted")
    write_pictures(folder / "photos", 6)
    path = write_study(folder, UNTOUCHED + QUICK)
    assert main(["study", "run", str(path)]) == 0
    return {file.relative_to(folder): data for file, data in results(folder).items()}


@pytest.mark.parametrize("killed", KILLED)
def test_killing_the_runner_loses_no_finished_picture(killed, tmp_path, run, uninterrupted):
    write_pictures(tmp_path / "photos", 6)
    path = write_study(tmp_path, UNTOUCHED + QUICK)
    process = begin(path, *KILLED[killed])
    finished = wait_for_results(tmp_path, 7)
    process.kill()
    process.communicate()
    times = {file: file.stat().st_mtime_ns for file in finished}
    code, out, _ = run("study", "run", path)
    assert code == 0
    assert int(out.split(" jobs, ")[1].split()[0]) >= len(finished)
    assert {file: file.stat().st_mtime_ns for file in finished} == times
    made = {file.relative_to(tmp_path): data for file, data in results(tmp_path).items()}
    assert made == uninterrupted


def children(pid: int) -> list[int]:
    """The processes that another one's pool works with."""
    psutil = pytest.importorskip("psutil")
    found = psutil.Process(pid).children(recursive=True)
    return [each.pid for each in found if "spawn_main" in " ".join(each.cmdline())]


def test_killing_a_worker_loses_nothing_and_the_run_goes_on(tmp_path, uninterrupted):
    write_pictures(tmp_path / "photos", 6)
    path = write_study(tmp_path, UNTOUCHED + QUICK)
    process = begin(path, "--workers", "2")
    finished = wait_for_results(tmp_path, 7)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert b"12 done, 0 failed" in out
    made = {file.relative_to(tmp_path): data for file, data in results(tmp_path).items()}
    assert made == uninterrupted
    assert all(file.read_bytes() == data for file, data in finished.items())
