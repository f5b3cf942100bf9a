"""Calibration: constants found again, contradictions refused, files that load."""

import json
import math

import numpy as np
import pytest
from latent_map.__main__ import main
from latent_map.iqa_priors.calibration import (
    calibrate_to_opinions,
    calibrate_to_scores,
    read_scores,
    save_calibration,
)
from latent_map.iqa_priors.correlation import plcc, srcc
from latent_map.iqa_priors.loading import load_prior
from PIL import Image

EXACT = 1e-4  # relative: the optimiser's own stopping tolerance on noise-free data


def opinions_of(scores, xi3, xi4, lower_better=False):
    sign = -1 if lower_better else 1
    return 1 / (1 + np.exp(-sign * (scores - xi3) / xi4))


def test_correlations_are_scipys_ties_included():
    from scipy.stats import pearsonr, spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 40), rng.normal(size=40)
    assert plcc(x, y) == pytest.approx(pearsonr(x, y)[0])
    assert srcc(x, y) == pytest.approx(spearmanr(x, y)[0])
    assert srcc([1, 2, 3], [10, 100, 1000]) == pytest.approx(1)
    assert math.isnan(srcc([1, 1, 1], [1, 2, 3]))


def some_scores(n=200, centre=55.0, spread=12.0, seed=0):
    return np.random.default_rng(seed).normal(centre, spread, n)


@pytest.mark.parametrize(
    ("centre", "spread", "xi3", "xi4", "lower_better"),
    [(55, 12, 58.7, 7.7, False), (0, 1.5, -0.4135, 1.6894, False), (5, 2, 4.5, 0.8, True)],
)
def test_the_constants_of_noise_free_opinions_are_found_again(
    centre, spread, xi3, xi4, lower_better
):
    scores = some_scores(centre=centre, spread=spread)
    opinions = opinions_of(scores, xi3, xi4, lower_better)
    found = calibrate_to_opinions("it", scores, opinions, lower_better, (0, 1))
    assert found.xi3 == pytest.approx(xi3, rel=EXACT)
    assert found.xi4 == pytest.approx(xi4, rel=EXACT)
    assert (found.srcc, found.plcc) == pytest.approx((1, 1), abs=1e-6)
    assert found.rmse < 1e-5
    assert (found.n, found.lower_better) == (200, lower_better)


def test_outliers_hardly_move_the_constants():
    scores = some_scores()
    opinions = opinions_of(scores, 58, 8)
    worst = np.argsort(scores)[:10]
    opinions[worst] = 1.0  # ten of the worst pictures called perfect
    found = calibrate_to_opinions("it", scores, opinions, False, (0, 1))
    assert found.xi3 == pytest.approx(58, abs=1.2)
    assert found.xi4 == pytest.approx(8, abs=1.2)
    # An ordinary least-squares fit of the same data lies more than twice as far off.
    from scipy.optimize import curve_fit

    plain, _ = curve_fit(opinions_of, scores, opinions, p0=(55, 7))
    assert abs(found.xi4 - 8) < 0.5 * abs(plain[1] - 8)


def test_scales_of_opinions_do_not_matter():
    scores = some_scores()
    opinions = opinions_of(scores, 58, 8)
    first = calibrate_to_opinions("it", scores, opinions, False, (0, 1))
    likert = calibrate_to_opinions("it", scores, 1 + 4 * opinions, False, (1, 5))
    difference = calibrate_to_opinions("it", scores, 100 - 100 * opinions, False, (100, 0))
    for other in (likert, difference):
        assert (other.xi3, other.xi4) == pytest.approx((first.xi3, first.xi4), rel=EXACT)
        assert other.srcc == pytest.approx(1)


def test_figures_worked_by_hand():
    # Ranks of the opinions 1 3 2 4 5 against 1 2 3 4 5: 1 - 6 * (1 + 1) / (5 * 24) = 0.9.
    found = calibrate_to_opinions("it", [1, 2, 3, 4, 5], [0.1, 0.5, 0.45, 0.6, 0.9], False, (0, 1))
    assert found.srcc == pytest.approx(0.9)
    fitted = opinions_of(np.arange(1.0, 6.0), found.xi3, found.xi4)
    errors = fitted - (0.1, 0.5, 0.45, 0.6, 0.9)
    assert found.rmse == pytest.approx(math.sqrt((errors**2).mean()))
    assert found.plcc == pytest.approx(np.corrcoef(fitted, (0.1, 0.5, 0.45, 0.6, 0.9))[0, 1])


@pytest.mark.parametrize("lower_better", [False, True])
def test_a_direction_that_contradicts_the_opinions_is_refused(lower_better):
    scores = some_scores()
    opinions = opinions_of(scores, 58, 8, not lower_better)
    with pytest.raises(ValueError, match=r"SRCC -1\.000 .*turn the scale round"):
        calibrate_to_opinions("it", scores, opinions, lower_better)


def test_the_median_photograph_becomes_one_half():
    found = calibrate_to_scores("it", [1, 2, 3, 4, 100], False)
    assert found.xi3 == 3
    deviation = math.sqrt(sum((v - 22) ** 2 for v in (1, 2, 3, 4, 100)) / 4)
    assert found.xi4 == pytest.approx(deviation * 0.5513, rel=1e-4)
    assert (found.plcc, found.srcc, found.rmse) == (None, None, None)


def test_calibrated_scores_of_photographs_are_about_their_percentiles():
    scores = np.random.default_rng(1).logistic(50, 6, 20_000)
    found = calibrate_to_scores("it", scores, False)
    calibrated = opinions_of(np.quantile(scores, (0.1, 0.5, 0.9)), found.xi3, found.xi4)
    assert calibrated == pytest.approx((0.1, 0.5, 0.9), abs=0.01)


@pytest.mark.parametrize(
    ("scores", "opinions", "limits", "words"),
    [
        ([1, 2, 3], [1, 2, 3], None, "too few"),
        ([1, 2, 3, 4, math.nan], [1, 2, 3, 4, 5], None, "must be finite"),
        ([2] * 5, [1, 2, 3, 4, 5], None, "all scores are 2"),
        ([1, 2, 3, 4, 5], [3] * 5, None, "all opinions are 3"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], None, "one opinion per score"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], (0, 1), "leave the scale"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], (3, 3), "no two ends"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(scores, opinions, limits, words):
    with pytest.raises(ValueError, match=words):
        calibrate_to_opinions("it", scores, opinions, False, limits)


def test_a_perfect_step_is_no_logistic():
    """Opinions of 0 and 1 parted by the score would make xi4 fall without end."""
    scores = np.arange(20.0)
    found = calibrate_to_opinions("it", scores, (scores > 9.5).astype(float), False)
    assert 9 < found.xi3 < 10
    assert found.xi4 > 0


def test_the_file_is_what_load_prior_takes(tmp_path):
    found = calibrate_to_scores("niqe", [3, 4, 5, 6, 7], True, "photos")
    save_calibration(tmp_path / "it.json", found)
    written = json.loads((tmp_path / "it.json").read_text())
    assert list(written) == [
        *("prior", "xi3", "xi4", "lower_better", "n", "plcc", "srcc", "rmse", "source")
    ]
    assert written["source"] == "photos"
    logistic = load_prior("niqe", calibration=tmp_path / "it.json").logistic
    assert (logistic.xi3, logistic.xi4) == (found.xi3, found.xi4)
    assert logistic.lower_better
    assert logistic.calibrated


def table(path, scores, opinions, header="name,Score, MOS"):
    rows = [f"{i}.png,{s},{o}" for i, (s, o) in enumerate(zip(scores, opinions, strict=True))]
    path.write_text("\n".join((header, *rows)))
    return path


def test_columns_are_found_by_name(tmp_path):
    file = table(tmp_path / "a.csv", [1.5, 2], [3, 4])
    assert read_scores(file) == ([1.5, 2], [3, 4])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("score;mos\n1;2\n", "names the columns"),
        ("score,mos\n1,2\n1,x\n", "line 3: score and mos must be numbers"),
        ("score,mos\n1\n", "line 2"),
        ("", "names the columns"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_scores(tmp_path / "a.csv")
    with pytest.raises(ValueError, match="no table of scores"):
        read_scores(tmp_path / "gone.csv")


def test_the_command_fits_opinions_and_prints_the_figures(tmp_path, capsys):
    scores = some_scores(centre=5, spread=2)
    file = table(tmp_path / "a.csv", scores, 1 + 4 * opinions_of(scores, 4.2, 0.9, True))
    out = tmp_path / "niqe.json"
    command = ["calibrate", "--prior", "niqe", "-o", str(out)]
    assert main([*command, "--scores", str(file), "--scale", "1", "5"]) == 0
    assert "PLCC 1.0000 SRCC 1.0000 RMSE 0.0000" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert (found["xi3"], found["xi4"]) == pytest.approx((4.2, 0.9), rel=EXACT)
    out.unlink()
    assert main([*command, "--scores", str(file), "--scale", "5", "1"]) == 2
    assert "turn the scale round" in capsys.readouterr().err
    assert not out.exists()


def test_the_command_measures_a_folder_of_photographs(tmp_path, capsys):
    rng = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(6):
        noise = rng.integers(0, 40 * (index + 1), (48, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photos / f"{index}.png")
    (photos / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (48, 48)).save(photos / "black.png")
    out = tmp_path / "pocket.json"
    assert main(["calibrate", "--prior", "pocket", "--folder", str(photos), "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert "6 scores" in printed.out
    assert "broken.png" in printed.err
    assert "black.png: left out, since the picture is even all over" in printed.err
    assert json.loads(out.read_text())["n"] == 6
    assert load_prior("pocket", calibration=out).logistic.calibrated


def test_the_command_wants_one_kind_of_data(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["calibrate", "--prior", "niqe", "-o", str(tmp_path / "x.json")])
    assert "--scores" in capsys.readouterr().err
    command = ["calibrate", "--folder", str(tmp_path), "-o", str(tmp_path / "x.json")]
    assert main([*command, "--prior", "vmaf"]) == 2
    assert "unknown prior 'vmaf'" in capsys.readouterr().err
