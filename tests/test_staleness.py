"""What was made of results that have changed since is never used in silence."""

import json

import pytest
from latent_map.comparison import selection
from latent_map.comparison.demo import STUDY, write_demo
from latent_map.comparison.report import text
from latent_map.comparison.session import Session
from latent_map.comparison.staleness import SELECTION, check_selection, entrants_changed
from latent_map.comparison.study_file import load_study
from latent_map.comparison.votes import Vote, append_vote
from latent_map.files import written
from latent_map.files.pictures import read_array
from PIL import Image

from .study_files import READY, UNTOUCHED, write_ready_study, write_study
from .tiny_study import SETTINGS


@pytest.fixture
def study(tmp_path, run):
    """A study whose pairs are selected, and whose results are scored and voted on."""
    path = write_ready_study(tmp_path)
    for command in ("run", "select"):
        assert run("study", command, path)[0] == 0
    assert run("study", "score", path, "--judges", "pocket")[0] == 0
    folder = tmp_path / "study"
    (folder / "votes").mkdir()
    for trial in range(4):
        vote = Vote("o", "s", f"picture{trial % 2}", "input", "other", trial < 3, trial=trial)
        append_vote(folder / "votes" / "main.csv", vote)
    return path


def replace_result(study):
    """The restorer is better now: its picture is another, and the runner takes it."""
    file = study.parent / "other" / "picture0.png"
    Image.fromarray(255 - read_array(file)).save(file)


def killed_after(count):
    """Writes so many files; then the program is stopped."""
    left = iter(range(count))

    def write(path, content):
        if next(left, None) is None:
            raise KeyboardInterrupt
        written.write_atomically(path, content)

    return write


def test_nothing_is_said_of_what_is_fresh(study, run, caplog):
    loaded = load_study(study)
    check_selection(loaded.folder)
    assert entrants_changed(loaded.folder, loaded.digests) == []
    _, out, _ = run("study", "analyse", study)
    assert "changed since" not in out
    assert (loaded.folder / "analysis" / "judges.csv").exists()


def test_scores_of_results_that_changed_are_left_out_and_told(study, run):
    replace_result(study)
    assert run("study", "run", study)[0] == 0
    code, out, _ = run("study", "analyse", study)
    assert code == 0
    assert "1 result (other, picture0) has changed since scores.csv, left out" in out
    assert "study score again" in (study.parent / "study" / "analysis" / "analysis.md").read_text()
    run("study", "score", study, "--judges", "pocket")
    assert "changed since scores.csv" not in run("study", "analyse", study)[1]


def test_scores_that_do_not_say_of_what_they_are_are_told(study, run):
    file = study.parent / "study" / "scores.csv"
    rows = [line.rpartition(",")[0] for line in file.read_text().splitlines()]
    file.write_text("\n".join(rows) + "\n")
    assert "6 scores of scores.csv do not say which results" in run("study", "analyse", study)[1]


def test_pairs_of_results_that_changed_are_not_shown(study, run):
    replace_result(study)
    assert run("study", "run", study)[0] == 0
    loaded = load_study(study)
    with pytest.raises(ValueError, match=r"other, picture0.* study select again"):
        Session(loaded.folder, "new", SETTINGS)
    assert run("study", "select", study)[0] == 0
    Session(loaded.folder, "new", SETTINGS)


def test_pairs_that_selection_json_does_not_tell_of_are_not_shown(study):
    loaded = load_study(study)
    loaded.pairs.write_text(loaded.pairs.read_text().replace("picture0", "picture1"))
    with pytest.raises(ValueError, match=r"delete selection\.json if pairs\.csv is your own"):
        Session(loaded.folder, "new", SETTINGS)
    (loaded.folder / SELECTION).write_text("{damaged")
    with pytest.raises(ValueError, match=r"selection\.json is damaged.*study select again"):
        Session(loaded.folder, "new", SETTINGS)
    (loaded.folder / SELECTION).unlink()
    Session(loaded.folder, "new", SETTINGS)


def test_a_session_whose_pictures_changed_is_told_by_the_analysis(study, run):
    folder = load_study(study).folder
    Session(folder, "main", SETTINGS)
    replace_result(study)
    assert run("study", "run", study)[0] == 0
    out = run("study", "analyse", study)[1]
    assert "Note: 1 result (other, picture0) has changed since being shown in session main: " in out


def test_an_entrant_described_otherwise_is_told(study):
    before = load_study(study)
    same = write_study(study.parent, f"# a remark\n{UNTOUCHED}{READY}")
    assert entrants_changed(before.folder, load_study(same).digests) == []
    elsewhere = READY.replace('folder = "other"', 'folder = "photos"')
    other = write_study(study.parent, UNTOUCHED + elsewhere)
    assert entrants_changed(before.folder, load_study(other).digests) == ["other"]


def test_an_analysis_tells_of_an_entrant_described_otherwise(study, run):
    assert "otherwise" not in run("study", "analyse", study)[1]
    elsewhere = READY.replace('folder = "other"', 'folder = "photos"')
    other = write_study(study.parent, UNTOUCHED + elsewhere)
    out = run("study", "analyse", other)[1]
    assert "Note: study.toml describes other otherwise than when pairs.csv was made: " in out


@pytest.mark.parametrize("after", [0, 1])
def test_a_selection_that_is_killed_between_its_files_is_seen(study, run, monkeypatch, after):
    """Killed before or after the first of its two files is there; then selected again."""
    replace_result(study)
    assert run("study", "run", study)[0] == 0
    monkeypatch.setattr(selection, "write_atomically", killed_after(after))
    assert run("study", "select", study)[0] == 130
    monkeypatch.undo()
    folder = study.parent / "study"
    with pytest.raises(ValueError, match="study select again"):
        check_selection(folder)
    assert run("study", "select", study)[0] == 0
    check_selection(folder)


@pytest.mark.parametrize("after", [1, 3])
def test_an_analysis_that_is_killed_halfway_can_be_repeated(study, run, monkeypatch, after):
    monkeypatch.setattr(text, "write_atomically", killed_after(after))
    assert run("study", "analyse", study)[0] == 130
    monkeypatch.undo()
    assert run("study", "analyse", study)[0] == 0


def test_a_folder_that_holds_no_analysis_is_left(study, run):
    mine = study.parent / "study" / "analysis" / "ranking.csv"
    mine.parent.mkdir()
    mine.write_text("mine")
    (mine.parent / "analysis.json").write_text(json.dumps({"scores": []}))
    code, _, err = run("study", "analyse", study)
    assert code == 2
    assert "--force" in err
    assert mine.read_text() == "mine"


def test_a_demonstration_that_is_killed_while_it_is_written_goes_on(tmp_path):
    path = write_demo(tmp_path / "demo")
    first = sorted((tmp_path / "demo" / "photographs").iterdir())
    first[0].unlink()
    assert write_demo(tmp_path / "demo") == path
    assert sorted((tmp_path / "demo" / "photographs").iterdir()) == first
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "STUDY.toml").write_text(STUDY)  # all that was there when it was killed
    write_demo(tmp_path / "other")
    assert len(list((tmp_path / "other" / "photographs").iterdir())) == len(first)
