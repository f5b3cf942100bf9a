"""latent-map score."""

import json


def test_scores_go_on_after_pictures_that_fail(folder, run):
    code, out, err = run("score", "empty.png", "good.png", "1x1.png", "--prior", "niqe")
    assert code == 3
    assert [line.split()[:2] for line in out.splitlines()] == [["good.png", "quality"]]
    assert len(err.splitlines()) == 2


def test_combined_priors_print_every_score(folder, run):
    code, out, _ = run("score", "good.png", "--prior", "niqe, pocket")
    assert code == 0
    name, _, quality, first, _, second, _ = out.split()
    assert (name, first, second) == ("good.png", "niqe", "pocket")
    assert 0 <= float(quality) <= 1


def test_priors_are_separated_by_commas(folder, run):
    code, out, _ = run("score", folder / "good.png", "--prior", "pocket,niqe")
    assert code == 0
    assert "pocket " in out
    assert "niqe " in out


def test_a_calibration_of_ones_own_moves_the_quality(folder, run):
    own = {"prior": "niqe", "xi3": 100.0, "xi4": 1.0, "lower_better": True}
    (folder / "own.json").write_text(json.dumps(own))
    arguments = ("score", folder / "good.png", "--prior", "niqe", "--calibration")
    code, out, _ = run(*arguments, folder / "own.json")
    assert code == 0
    assert "quality 1.0000" in out
    code, _, err = run("score", folder / "good.png", "--calibration", folder / "own.json")
    assert code == 2
    assert "choose that prior" in err
