"""Folders that may not be written to are told in one line, before any work."""

import os
import subprocess
import sys

import pytest
from latent_map.command_line import enhance_jobs
from latent_map.comparison.votes import Vote, append_vote
from latent_map.files import downloads, known_downloads
from latent_map.files.weight_files import standard_folders
from latent_map.files.written import check_folder
from latent_map.map_estimation.kept_runs import KeptRuns

from .sample_files import contents
from .study_files import write_ready_study

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders there have no such mode")


@pytest.fixture
def lock():
    """Make folders read-only; for root, whom modes do not hold, by an attribute of the disk."""
    locked = []

    def make(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid():
            folder.chmod(0o555)
        else:
            try:
                subprocess.run(["chattr", "+i", folder], check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("root may write anywhere here")
        locked.append(folder)
        return folder

    yield make
    for folder in locked:
        if os.geteuid():
            folder.chmod(0o755)
        else:
            subprocess.run(["chattr", "-i", folder], check=True)


@pytest.mark.parametrize(
    "command",
    [
        "enhance good.png -o locked/b.png",
        "enhance good.png -o b.png --state locked/s",
        "enhance good.png -o b.png --report locked/r.json",
        "enhance good.png -o b.png --sheet locked/s.png",
        "enhance good.png -o b.png --compare locked/c.png",
        "enhance pictures -o locked",
        "enhance pictures -o locked/below",
        "invert good.png -o locked/a.latents",
        "recover good.png -o locked/b.png",
        "calibrate --prior niqe --folder pictures -o locked/c.json",
    ],
)
def test_commands_tell_of_it_before_any_work(folder, run, monkeypatch, lock, command):
    monkeypatch.setattr(enhance_jobs, "enhance", None)  # nothing is computed
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes((folder / "good.png").read_bytes())
    lock(folder / "locked")
    before = contents(folder)
    prior = ["--prior", "niqe"] if command.startswith("enhance") else []
    code, out, err = run(*command.split(), *prior)
    assert (code, out) == (2, "")
    assert "locked" in err
    assert "choose another" in err
    assert "Traceback" not in err
    assert contents(folder) == before


@pytest.mark.parametrize(
    "command", ["prepare", "run", "score --judges pocket", "select", "analyse", "serve --port 0"]
)
def test_studies_tell_of_it_before_any_work(tmp_path, run, lock, monkeypatch, command):
    path, place = write_ready_study(tmp_path), tmp_path / "study"
    if command not in ("prepare", "run"):
        assert run("study", "run", path)[0] == 0
        (place / "votes").mkdir()
        vote = Vote("o", "s", "picture0", "input", "other", True)
        append_vote(place / "votes" / "main.csv", vote)
        (place / "pairs.csv").write_text("picture,model_a,model_b\npicture0,input,other\n")
    for module in ("scoring.score_results", "selection.select_pairs", "analysis.analyse"):
        monkeypatch.setattr(f"latent_map.comparison.{module}", None)
    lock(place)
    before = contents(place)
    name, *options = command.split()
    code, _, err = run("study", name, path, *options)
    assert code == 2, err
    assert len(err.splitlines()) == 1
    assert "study" in err
    assert "choose another" in err
    assert contents(place) == before


def test_a_folder_of_kept_runs_is_told_of_before_a_run(lock, tmp_path):
    with pytest.raises(ValueError, match=r"may not be written to.*choose another"):
        KeptRuns(lock(tmp_path / "kept")).file({"settings": {"inversion": {}}}, False)
    with pytest.raises(ValueError, match=r"cannot be made.*choose another"):
        KeptRuns(tmp_path / "kept" / "below").file({"settings": {"inversion": {}}}, False)


def test_a_download_needs_its_folder_and_does_without_a_cache(lock, tmp_path, monkeypatch, caplog):
    locked = lock(tmp_path / "locked")
    with pytest.raises(ValueError, match=r"may not be written to.*choose another"):
        downloads.fetch("https://nowhere.invalid/a.pth", locked / "a.pth")
    monkeypatch.setenv(known_downloads.FOLDER_VARIABLE, str(locked))
    assert known_downloads.lock_of(tmp_path / "a.pth") is None
    assert known_downloads.compare("https://nowhere.invalid/a.pth", "00") is None
    assert "checksums are not recorded" in caplog.text


def test_a_user_without_a_home_can_work(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", known_downloads.FOLDER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where nobody knows the user
    assert standard_folders()
    assert known_downloads.records_folder()


def test_a_folder_below_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("mine")
    for below in ("file", "file/below"):
        with pytest.raises(ValueError, match="choose another folder"):
            check_folder(tmp_path / below)
