"""Scores by maximum likelihood: closed forms, golden fits, and where no maximum exists."""

import choix
import numpy as np
import pytest
import statsmodels.api as sm
from latent_map.comparison.thurstone import (
    SCALE,
    connect,
    difference_of,
    fit_many,
    fit_scores,
    goodness_of_fit,
    has_finite_scores,
    log_likelihood,
    preference,
    unanimous_bound,
)

from .golden_votes import EIGHT_DIGITS, GOLDEN, PRINTED, table

FIGURE_5 = 0.0014  # the printed scores sum to -0.011, ours to 0
FITS = ("three_models", "three_models_small", "four_models_incomplete")
every_fit = pytest.mark.parametrize("name", FITS)


def test_a_preference_of_three_to_one_is_a_difference_of_one():
    assert preference(1.0) == pytest.approx(GOLDEN["scale"]["p_at_1_jod"], abs=1e-12)
    assert pytest.approx(GOLDEN["scale"]["sqrt2_sigma"], abs=1e-12) == SCALE
    assert difference_of(0.75) == pytest.approx(1, abs=1e-4)  # 1.0484 is rounded


@pytest.mark.parametrize("ratio", [key for key in GOLDEN["two_models"] if "se" not in key])
def test_two_entrants_have_a_closed_form(ratio):
    won, lost = map(float, ratio.split(":"))
    scores = fit_scores(np.array([[0, won], [lost, 0]])).scores
    assert scores == pytest.approx(GOLDEN["two_models"][ratio]["scores"], abs=PRINTED)
    assert scores[0] == pytest.approx(difference_of(won / (won + lost)) / 2, abs=1e-10)


def test_the_standard_error_of_two_entrants():
    covariance = fit_scores(np.array([[0, 75.0], [25, 0]])).covariance
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    expected = GOLDEN["two_models"]["se_of_difference 75:25"]
    assert np.sqrt(variance) == pytest.approx(expected, abs=PRINTED)


@every_fit
def test_scores_covariance_and_deviance_are_the_golden_ones(name):
    golden, counts = GOLDEN[name], table(name, "counts")
    fit = fit_scores(counts)
    assert fit.scores == pytest.approx(golden["scores"], abs=PRINTED)
    assert fit.covariance == pytest.approx(table(name, "covariance_observed"), abs=1e-10)
    assert log_likelihood(fit.scores, counts) == pytest.approx(golden["log_likelihood"], abs=1e-8)
    goodness = goodness_of_fit(counts, fit)
    assert goodness.deviance == pytest.approx(golden["deviance"], abs=1e-8)
    assert goodness.degrees_of_freedom == golden["deviance_df"]
    assert goodness.p == pytest.approx(golden["deviance_p"], abs=1e-8)
    assert fit.connected
    assert not fit.regularised.any()


def test_figure_5_comes_back_from_its_own_probabilities():
    fit = fit_scores(table("figure_5", "probabilities"))
    # The probabilities are printed with 8 digits.
    assert fit.scores == pytest.approx(GOLDEN["figure_5"]["log_form_scores"], abs=1e-7)
    assert np.abs(fit.scores - GOLDEN["figure_5"]["printed"]).max() < FIGURE_5


def test_figure_5_with_five_hundred_votes_a_pair():
    golden = GOLDEN["figure_5"]["with_500_votes_a_pair"]
    fit = fit_scores(np.array(golden["counts"]))
    assert fit.scores == pytest.approx(golden["scores"], abs=PRINTED)
    assert fit.covariance == pytest.approx(np.array(golden["covariance_observed"]), abs=1e-10)


def test_without_the_logarithm_there_would_be_no_maximum():
    golden, chances = GOLDEN["figure_5"]["without_log"], table("figure_5", "probabilities")
    printed = np.array(GOLDEN["figure_5"]["printed"])

    def value(scores):
        return (chances * preference(scores[:, None] - scores[None])).sum()

    values = [value(factor * printed) for factor in (1, 10, 50)]
    expected = [golden[f"value_at_{name}"] for name in ("printed", "10x", "50x")]
    assert values == pytest.approx(expected, abs=1e-5)
    assert values == sorted(values)


def test_the_chain_of_pwcmps_manual():
    golden = GOLDEN["pwcmp_readme_chain"]
    assert fit_scores(np.array(golden["counts"])).scores == pytest.approx(
        golden["scores"], abs=PRINTED
    )


@every_fit
def test_statsmodels_probit_agrees(name):
    counts = table(name, "counts")
    winner, loser = np.nonzero(counts)
    votes = counts[winner, loser].astype(int)
    rows = np.zeros((len(winner), len(counts)))
    rows[range(len(winner)), winner], rows[range(len(winner)), loser] = 1, -1
    # The last score is minus the sum of the others; a vote and its mirror image say the same.
    design = np.repeat((rows[:, :-1] - rows[:, -1:]) / SCALE, votes, axis=0)
    mirrored = np.concatenate([design, -design])
    answers = np.repeat([1, 0], len(design))
    found = sm.Probit(answers, mirrored).fit(disp=0, tol=1e-12).params
    assert fit_scores(counts).scores[:-1] == pytest.approx(found, abs=EIGHT_DIGITS)


def test_choix_agrees_to_its_own_prior():
    golden = GOLDEN["figure_5"]["with_500_votes_a_pair"]
    data = [
        (i, j)
        for i, row in enumerate(golden["counts"])
        for j, number in enumerate(row)
        for _ in range(number // 10)
    ]
    mean, _ = choix.ep_pairwise(8, data, alpha=1e-4, model="probit")
    # Its unit is one standard deviation of a difference; its answer is a posterior's mean.
    counts = np.array(golden["counts"]) // 10
    assert fit_scores(counts).scores == pytest.approx((mean - mean.mean()) * SCALE, abs=0.03)


def test_many_tables_are_fitted_as_one_by_one():
    tables = np.stack([table("three_models", "counts"), table("three_models_small", "counts")])
    one_by_one = [fit_scores(counts).scores for counts in tables]
    assert fit_many(tables) == pytest.approx(np.array(one_by_one), abs=1e-10)


def test_unanimous_votes_have_no_finite_scores_but_marked_ones():
    golden = GOLDEN["existence"]["unanimous"]
    fit = fit_scores(np.array(golden["counts"]))
    assert fit.regularised.all()
    assert fit.scores == pytest.approx(golden["half_pseudo_votes_scores"], abs=PRINTED)
    assert fit.components.strong == ((0,), (1, 2))
    bound = golden["lower_bound_95"]
    assert unanimous_bound(bound["n"]) == pytest.approx(bound["difference_low"], abs=PRINTED)


def test_disconnected_votes_are_scored_on_islands():
    golden = GOLDEN["existence"]["disconnected"]
    fit = fit_scores(np.array(golden["counts"]))
    assert [list(part) for part in fit.components.strong] == golden["components"]
    assert not fit.connected
    assert not fit.regularised.any()
    assert fit.components.weak.tolist() == [0, 0, 1, 1]
    assert fit.scores == pytest.approx([*_two(6, 4), *_two(7, 3)], abs=1e-9)
    assert not fit.covariance[:2, 2:].any()


def _two(won, lost):
    return fit_scores(np.array([[0.0, won], [lost, 0.0]])).scores


def test_unanimous_pairs_in_a_cycle_have_finite_scores():
    golden = GOLDEN["existence"]["unanimous_pairs_but_a_cycle"]
    fit = fit_scores(np.array(golden["counts"]))
    assert not fit.regularised.any()
    assert fit.scores == pytest.approx(golden["scores"], abs=PRINTED)


def test_an_island_is_regularised_alone():
    counts = np.zeros((5, 5))
    counts[0, 1], counts[2, 3], counts[3, 4], counts[4, 2] = 9, 3, 3, 3
    fit = fit_scores(counts)
    assert fit.regularised.tolist() == [True, True, False, False, False]
    assert fit.scores[2:] == pytest.approx([0, 0, 0], abs=1e-10)


def test_existence_is_strong_connectivity():
    tables = np.random.default_rng(1).poisson(0.6, size=(300, 5, 5)) * (1 - np.eye(5))
    expected = [len(connect(counts).strong) == 1 for counts in tables]
    assert has_finite_scores(tables).tolist() == expected
    assert 30 < sum(expected) < 270


@pytest.mark.parametrize(
    "counts", [np.ones((2, 3)), np.eye(2), -np.ones((2, 2)), np.full((2, 2), np.nan)]
)
def test_what_is_no_table_of_votes_is_refused(counts):
    with pytest.raises(ValueError, match="no table of votes"):
        fit_scores(counts)


def test_extreme_votes_converge():
    for votes in (10, 10**4, 10**9):
        scores = fit_scores(np.array([[0, votes], [1, 0]])).scores
        assert scores[0] == pytest.approx(difference_of(votes / (votes + 1)) / 2, abs=1e-6)
