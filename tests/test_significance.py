"""Covariances, tests, groups, bootstrap and shares of votes, against golden numbers."""

import numpy as np
import pytest
from latent_map.benchmarks.study_coverage import Design, judge
from latent_map.comparison.ballots import Ballots
from latent_map.comparison.bootstrap import bootstrap
from latent_map.comparison.covariance import clustered, clustered_by, independent_votes
from latent_map.comparison.per_picture import picture_counts, score_pictures
from latent_map.comparison.sample_size import votes_needed
from latent_map.comparison.shares import shares, wilson
from latent_map.comparison.significance import compare_all, group, holm, starks_david, told_apart
from latent_map.comparison.thurstone import fit_scores
from scipy.stats import t

from .golden_votes import EIGHT_DIGITS, GOLDEN, PRINTED, ballots_of, clustered_ballots, table

FITS = ("three_models", "three_models_small", "four_models_incomplete")


def independently(counts):
    fit = fit_scores(counts)
    covariance = independent_votes(fit)
    return fit, compare_all(fit, covariance, covariance)


@pytest.mark.parametrize("name", FITS)
def test_walds_tests_are_the_golden_ones(name):
    _, rows = independently(table(name, "counts"))
    assert len(rows) == len(GOLDEN[name]["wald"])
    for row in rows:
        golden = GOLDEN[name]["wald"][f"{row.first}-{row.second}"]
        found = row.difference, row.standard_error, row.statistic
        assert found == pytest.approx([golden[k] for k in ("difference", "se", "z")], abs=2e-8)
        assert row.p == pytest.approx(golden["p"], rel=EIGHT_DIGITS)
        adjusted = GOLDEN[name]["holm_p"][f"{row.first}-{row.second}"]
        assert row.holm_p == pytest.approx(adjusted, rel=EIGHT_DIGITS)
        assert (row.holm_p < 0.05) == GOLDEN[name]["holm_reject"][f"{row.first}-{row.second}"]


def test_figure_5_with_five_hundred_independent_votes_a_pair():
    golden = GOLDEN["figure_5"]["with_500_votes_a_pair"]
    fit, rows = independently(np.array(golden["counts"]))
    apart = {f"{row.first}-{row.second}": bool(row.holm_p < 0.05) for row in rows}
    assert apart == golden["holm_reject"]
    assert group(np.arange(8), told_apart(rows, fit)) == [
        (0,),
        (1,),
        (2,),
        (3,),
        (4,),
        (5, 6),
        (7,),
    ]


def test_holms_correction():
    golden = GOLDEN["holm"]
    assert holm(np.array(golden["p"])) == pytest.approx(golden["adjusted"])
    shuffled = np.array([golden["p"][place] for place in (3, 0, 4, 2, 1)])
    assert holm(shuffled) == pytest.approx([0.09, 0.005, 0.5, 0.09, 0.08])
    with_none = holm(np.array([np.nan, 0.04, 0.03]))
    assert np.isnan(with_none[0])
    assert with_none[1:] == pytest.approx([0.06, 0.06])


def test_groups_are_overlapping_runs():
    apart = np.zeros((4, 4), bool)
    apart[0, 2] = apart[2, 0] = apart[0, 3] = apart[3, 0] = True
    assert group(np.arange(4), apart) == [(0, 1), (1, 2, 3)]
    assert group(np.arange(4), np.zeros((4, 4), bool)) == [(0, 1, 2, 3)]
    assert group(np.array([1, 0]), ~np.eye(2, dtype=bool)) == [(1,), (0,)]


def test_clustered_covariances_are_those_of_statsmodels():
    golden, ballots = GOLDEN["cluster_robust"], clustered_ballots()
    assert ballots.counts().tolist() == golden["counts"]
    fit = fit_scores(ballots.counts())
    assert fit.scores == pytest.approx(golden["scores"], abs=PRINTED)
    assert fit.covariance == pytest.approx(table("cluster_robust", "naive"), abs=1e-9)
    for clusters, name in ((ballots.picture, "by_image"), (ballots.observer, "by_observer")):
        found = clustered_by(ballots, fit, clusters)
        assert found == pytest.approx(table("cluster_robust", name), abs=1e-9)
    covariance = clustered(ballots, fit)
    assert covariance.matrix == pytest.approx(table("cluster_robust", "two_way"), abs=1e-9)
    assert covariance.clustering == "pictures and observers"
    assert covariance.clusters == 5
    assert not covariance.alternatives


def test_the_reference_is_students_with_one_degree_less_than_clusters():
    ballots = clustered_ballots()
    fit = fit_scores(ballots.counts())
    covariance = clustered(ballots, fit)
    for row in compare_all(fit, covariance, independent_votes(fit)):
        m = table("cluster_robust", "two_way")
        variance = m[row.first, row.first] + m[row.second, row.second]
        variance -= 2 * m[row.first, row.second]
        statistic = row.difference / np.sqrt(variance)
        assert row.p == pytest.approx(2 * t.sf(statistic, 4), rel=1e-6)
        assert row.independent_p != row.p


def test_an_indefinite_two_way_matrix_gives_way_to_the_larger_one_way_variance():
    found = 0
    generator = np.random.default_rng(5)
    for _ in range(60):
        ballots = clustered_ballots()
        place = generator.permutation(len(ballots))[:18]
        part = type(ballots)(
            *(ballots.entrants, ballots.pictures, ballots.observers),
            *(array[place] for array in _arrays(ballots)),
        )
        fit = fit_scores(part.counts())
        covariance = clustered(part, fit)
        differences = covariance.of_differences()
        assert (differences >= 0).all()
        if covariance.alternatives:
            found += 1
            one_way = [clustered_by(part, fit, c) for c in (part.picture, part.observer)]
            larger = np.max([np.diag(m)[:, None] + np.diag(m) - 2 * m for m in one_way], axis=0)
            assert differences == pytest.approx(larger.clip(0))
    assert 0 < found < 60


def _arrays(ballots):
    return ballots.winner, ballots.loser, ballots.picture, ballots.observer


def test_clusters_that_agree_to_the_vote_do_not_make_errors_vanish():
    """Three observers with six of nine votes each, on nine pictures with two of three each."""
    cells = [(o, p) for o in range(3) for p in range(9)]
    observer, picture = np.array(cells).T
    won = (observer + picture) % 3 > 0
    names = tuple(map(str, range(9)))
    winner, loser = np.where(won, 0, 1), np.where(won, 1, 0)
    ballots = Ballots(("a", "b"), names, names[:3], winner, loser, picture, observer)
    fit = fit_scores(ballots.counts())
    covariance, independent = clustered(ballots, fit), independent_votes(fit)
    assert np.abs(covariance.alternatives).max() < 1e-9
    assert covariance.vanishing()
    assert not independent.vanishing()
    assert covariance.of_differences() == pytest.approx(independent.of_differences())
    assert covariance.of_scores() == pytest.approx(independent.of_scores())


def test_one_observer_is_clustered_by_picture_alone_and_one_picture_by_observer():
    ballots = clustered_ballots()
    mine = ballots.observer == 2
    one = type(ballots)(
        *(ballots.entrants, ballots.pictures, ("2",)),
        *(ballots.winner[mine], ballots.loser[mine], ballots.picture[mine], np.zeros(18, int)),
    )
    covariance = clustered(one, fit_scores(one.counts()))
    assert (covariance.clustering, covariance.clusters) == ("pictures", 6)
    assert covariance.of_scores().min() > 0
    tables = GOLDEN["bootstrap_by_observer"]["per_observer_counts"]
    same = ballots_of(tables)
    covariance = clustered(same, fit_scores(same.counts()))
    assert (covariance.clustering, covariance.clusters) == ("observers", 6)
    alone = ballots_of(tables[:1])
    assert clustered(alone, fit_scores(alone.counts())).clustering == "independent votes"


def test_davids_range_test():
    golden = GOLDEN["starks_david"]
    cases = {
        "three_models_100_votes": table("three_models", "counts"),
        "figure_5_500_votes": table("figure_5", "with_500_votes_a_pair", "counts"),
    }
    for name, counts in cases.items():
        found, expected = starks_david(counts), golden[name]
        assert found.wins == tuple(expected["wins"])
        assert found.statistic == pytest.approx(expected["D"], abs=1e-3)
        assert found.degrees_of_freedom == expected["df"]
        assert found.p == pytest.approx(expected["p"], rel=EIGHT_DIGITS)
        assert found.least_difference == pytest.approx(expected["lsd_05"], abs=1e-6)
        assert found.honest_difference == pytest.approx(expected["hsd_05"], abs=1e-3)
    assert starks_david(table("four_models_incomplete", "counts")) is None


def test_the_bootstrap_over_observers():
    golden = GOLDEN["bootstrap_by_observer"]
    ballots = ballots_of(golden["per_observer_counts"])
    assert fit_scores(ballots.counts()).scores == pytest.approx(golden["scores"], abs=PRINTED)
    drawn = bootstrap(ballots, 1000, 20240306)
    assert drawn.infinite == 1000 - golden["finite"]
    assert drawn.scores[:3] == pytest.approx(np.array(golden["first_three_scores"]), abs=1e-8)
    expected = [golden["percentile_2_5"], golden["percentile_97_5"]]
    assert drawn.interval() == pytest.approx(np.array(expected), abs=1e-8)
    assert np.cov(drawn.scores.T) == pytest.approx(np.array(golden["covariance"]), abs=1e-8)
    assert drawn.rank_shares().sum(axis=1) == pytest.approx(np.ones(3))


def test_the_bootstrap_over_both_finds_three_times_the_variance_of_independent_votes():
    generator, pairs = np.random.default_rng(7), ((0, 1), (0, 2), (1, 2))
    cast = [(o, p, i, j) for o in range(20) for p in range(20) for i, j in pairs]
    observer, picture, first, second = np.array(cast).T
    won = generator.random(len(cast)) < 0.5
    winner, loser = np.where(won, first, second), np.where(won, second, first)
    names = tuple(map(str, range(20)))
    ballots = Ballots(("a", "b", "c"), names, names, winner, loser, picture, observer)
    fit = fit_scores(ballots.counts())
    ratio = bootstrap(ballots, 1000).scores.std(axis=0) / np.sqrt(np.diag(fit.covariance))
    assert ratio == pytest.approx(np.full(3, np.sqrt(3)), rel=0.2)


def test_draws_without_a_finite_maximum_are_dropped_and_counted():
    drawn = bootstrap(ballots_of([[[0, 2], [0, 0]], [[0, 1], [1, 0]]]), 400)
    assert 60 < drawn.infinite < 140  # a quarter of the draws take the unanimous observer twice
    assert len(drawn.scores) == 400 - drawn.infinite
    nothing = bootstrap(ballots_of([[[0, 2], [0, 0]]]), 10)
    assert nothing.infinite == 10
    assert np.isnan(nothing.interval()).all()


def test_wilsons_intervals_of_section_5b():
    golden = GOLDEN["section_V_B"]
    for name, share in golden["printed"].items():
        assert wilson(share, 500) == pytest.approx(golden["wilson_95_at_500"][name], abs=1e-6)
    assert wilson(1.0, 20).high == 1
    assert wilson(0.0, 20).low == 0
    assert wilson(0.5, 0) == (0, 1)


def test_shares_widen_when_pictures_disagree():
    """One picture all for A, one all for B: two votes' worth, not twenty."""
    ballots = ballots_of([[[0, 1], [1, 0]]] * 10)
    agreed = shares(ballots)[0]
    assert (agreed.wins, agreed.votes, agreed.share) == (10, 20, 0.5)
    assert agreed.interval == agreed.independent
    split = type(ballots)(
        *(ballots.entrants, ("p", "q"), ballots.observers),
        *(ballots.winner, ballots.loser, ballots.winner, ballots.observer),
    )
    found = shares(split)[0]
    assert found.independent == agreed.independent
    assert found.effective_votes == pytest.approx(1)
    assert found.interval.high - found.interval.low > 0.85


def test_pictures_scored_one_by_one_as_ding_does():
    golden = GOLDEN["ding_per_image"]
    counts = np.array(golden["counts"], dtype=float)
    found = score_pictures(counts)
    assert found.scores == pytest.approx(np.array(golden["bradley_terry_scores"]), abs=1e-6)
    assert found.scores.mean(axis=0) == pytest.approx(golden["mean"], abs=1e-6)
    for test in found.tests:
        expected = golden["paired_t"][f"{test.first}-{test.second}"]
        assert test.statistic == pytest.approx(expected["t"], abs=1e-4)
        assert test.p == pytest.approx(expected["p"], abs=1e-5)
    counts[0, 1, 0] = counts[0, 2, 0] = 0
    assert score_pictures(counts) is None
    assert score_pictures(picture_counts(clustered_ballots())) is None


def test_only_two_way_errors_hold_when_pictures_and_observers_differ():
    judged = judge(Design(10, 12, 1.0, 0.4), studies=60)
    assert judged["independent votes"].false > 0.25
    assert judged["two-way (default)"].false < 0.15
    assert judged["independent votes"].covered < 0.75
    assert judged["two-way (default)"].covered > 0.88


@pytest.mark.parametrize("share", GOLDEN["sample_size"]["one_pair_normal"])
def test_votes_needed(share):
    golden = GOLDEN["sample_size"]["one_pair_normal"][share]
    assert votes_needed(float(share)) == golden["n"]
    assert votes_needed(float(share), 0.05 / 28) == golden["n_bonferroni_28"]
