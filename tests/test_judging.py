"""latent-map study score: what was made with a judge should be best by it."""

import pytest
from latent_map.comparison.judging import Score, judged, read_scores, scores_text
from latent_map.comparison.scoring import load_prior
from latent_map.comparison.votes import Vote, append_vote
from latent_map.files.pictures import read_picture

from .study_files import QUICK, READY, UNTOUCHED, write_pictures, write_ready_study, write_study


def scores(table, own=(("A", "a"), ("B", "b"))):
    return [
        Score(entrant, picture, judge, (entrant, judge) in own, quality, "")
        for (entrant, picture, judge), quality in table.items()
    ]


TABLE = {
    ("A", "p", "a"): 0.9, ("A", "p", "b"): 0.7, ("B", "p", "a"): 0.2, ("B", "p", "b"): 0.6,
    ("A", "q", "a"): 0.7, ("A", "q", "b"): 0.5, ("B", "q", "a"): 0.4, ("B", "q", "b"): 0.4,
    ("A", "r", "a"): 0.0, ("A", "r", "b"): 0.0,
}  # fmt: skip


def test_means_are_over_pictures_that_all_have():
    found = judged(scores(TABLE))
    assert found is not None
    assert found.pictures == 2  # B has no r
    assert found.means == pytest.approx(
        {("A", "a"): 0.8, ("A", "b"): 0.6, ("B", "a"): 0.3, ("B", "b"): 0.5}
    )
    assert found.own == {("A", "a"), ("B", "b")}
    assert judged([]) is judged(scores({("A", "p", "a"): 1.0, ("B", "q", "a"): 1.0})) is None


def test_rows_come_back_and_those_that_are_none_are_left_out(tmp_path):
    file = tmp_path / "scores.csv"
    assert read_scores(file) == []
    file.write_text(scores_text(scores(TABLE)) + "A,p,a,1,high,\nA,p\nA,p,a,1,nan,\nA,p,a,1,1\n")
    assert read_scores(file) == scores(TABLE)
    file.write_bytes(b"\xff\x00")
    assert read_scores(file) == []


def test_every_judge_scores_every_result_once(tmp_path, run, monkeypatch):
    write_pictures(tmp_path / "photos", 2, side=96)
    write_pictures(tmp_path / "other", 2, side=96, seed=1)
    path = write_study(tmp_path, UNTOUCHED + READY + QUICK)
    code, _, err = run("study", "score", path)
    assert (code, err.count("\n")) == (2, 1)
    assert "study run" in err
    run("study", "run", path)
    assert run("study", "score", path, "--judges", "brisque-cpp")[0] == 0
    found = read_scores(tmp_path / "study" / "scores.csv")
    assert [(s.entrant, s.judge) for s in found if s.own] == [("pocket", "pocket")] * 2
    assert len(found) == 2 * 3 * 2
    for score in found:
        result = tmp_path / "study" / "results" / score.entrant / f"{score.picture}.png"
        prior = load_prior(score.judge).as_published()
        assert score.quality == pytest.approx(float(prior(read_picture(result).pixels)), abs=1e-6)
    monkeypatch.setattr("latent_map.comparison.scoring.load_prior", None)  # nothing is loaded
    assert run("study", "score", path, "--judges", "brisque-cpp")[0] == 0
    assert read_scores(tmp_path / "study" / "scores.csv") == found


def test_the_report_says_whom_each_judge_prefers(tmp_path, run):
    path = write_ready_study(tmp_path)
    place = tmp_path / "study"
    (place / "votes").mkdir(parents=True)
    for trial in range(4):
        vote = Vote("o", "s", f"picture{trial % 2}", "input", "other", trial < 3, trial=trial)
        append_vote(place / "votes" / "main.csv", vote)
    names = {"A": "input", "B": "other"}
    table = {(names[e], p, j): quality for (e, p, j), quality in TABLE.items()}
    (place / "scores.csv").write_text(scores_text(scores(table, (("input", "a"), ("other", "b")))))
    assert run("study", "analyse", path)[0] == 0
    text = (place / "analysis" / "analysis.md").read_text()
    assert "a prefers input (its own); b prefers input (NOT its own)" in text
    assert "NOT its own" in (place / "analysis" / "report.html").read_text()
    assert (place / "analysis" / "judges.csv").read_text().splitlines()[1].startswith("input,a,0.8")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [((), "name judges with --judges"), (("--judges", "nique"), "nique"),
     (("--judges", "niqe"), "niqe")],
)  # fmt: skip
def test_judges_that_cannot_be_are_refused_before_any_work(tmp_path, run, words, complaint):
    path = write_ready_study(tmp_path)  # pictures of 64 pixels, too small for niqe
    run("study", "run", path)
    code, _, err = run("study", "score", path, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert complaint in err


def test_judges_may_be_named_as_priors_are_elsewhere(tmp_path, run):
    path = write_ready_study(tmp_path, 1)
    assert run("study", "run", path)[0] == 0
    code, out, _ = run("study", "score", path, "--judges", "pocket,brisque-cpp", "pocket")
    assert code == 0
    assert "4 scores by pocket, brisque-cpp" in out
