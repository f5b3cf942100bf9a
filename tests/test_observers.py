"""What observers' votes say about them, and Table I."""

from dataclasses import replace

import numpy as np
import pytest
from latent_map.comparison.ballots import cast_ballots
from latent_map.comparison.observers import (
    circular_triads,
    count_alike,
    count_left,
    describe_observers,
    passes_by_guessing,
    screen,
)
from latent_map.comparison.rank_agreement import (
    Correlation,
    agree,
    competition_ranks,
    read_correlations,
    srcc_interval,
)
from latent_map.comparison.votes import Vote
from scipy.stats import binomtest

from .golden_votes import GOLDEN, table

VOTE = Vote("ann", "s", "sea", "a", "b", True, "left", 800.0)


def test_screening_scores_are_the_golden_ones():
    golden = GOLDEN["screening"]
    found = screen([np.array(counts, float) for counts in golden["per_observer_counts"]])
    likelihoods = [agreement.log10_likelihood for agreement in found]
    assert likelihoods == pytest.approx(golden["log10_likelihood"], abs=1e-6)
    distances = [agreement.distance for agreement in found]
    assert distances == pytest.approx(golden["distance_in_iqr"], abs=1e-5)
    flagged = [place for place, distance in enumerate(distances) if distance > 1.5]
    assert flagged == golden["flagged_above_1_5"]


def test_three_observers_have_no_quartiles():
    tables = [np.array(c, float) for c in GOLDEN["screening"]["per_observer_counts"][-3:]]
    assert [agreement.distance for agreement in screen(tables)] == [0, 0, 0]


def test_an_only_observer_cannot_be_judged():
    (agreement,) = screen([table("three_models", "counts")])
    assert np.isnan(agreement.log10_likelihood)
    assert agreement.distance == 0


def test_side_bias_is_the_exact_binomial():
    for words, p in GOLDEN["side_bias"].items():
        left, votes = (int(word) for word in words.split() if word.isdigit())
        assert binomtest(left, votes).pvalue == pytest.approx(p, abs=1e-8)
    sided = [VOTE, replace(VOTE, side="right"), replace(VOTE, side="", is_a_selected=False)]
    assert count_left(sided) == (1, 2)
    assert count_left([replace(VOTE, side="right", is_a_selected=False)]) == (1, 1)


def test_traps_and_repeats_are_counted():
    repeat = replace(VOTE, kind="repeat", condition_a="b", condition_b="a", trial=9)
    trap = replace(VOTE, condition_b="trap", kind="trap")
    votes = [
        *(repeat, VOTE, replace(repeat, is_a_selected=False)),
        *(trap, replace(trap, is_a_selected=False), replace(trap, is_a_selected=False)),
        replace(repeat, scene="never asked before"),
    ]
    assert count_alike(votes) == (1, 2)
    (observer,) = describe_observers(votes, cast_ballots(votes))
    assert (observer.repeats_alike, observer.repeats) == (1, 2)
    assert (observer.traps_failed, observer.traps) == (2, 3)
    assert observer.look_into == ("2 of 3 traps failed",)
    assert (observer.votes, observer.left, observer.sided) == (1, 1, 1)
    assert observer.median_ms == 800


def test_what_traps_can_tell():
    golden = GOLDEN["traps"]
    chances = [passes_by_guessing(5), passes_by_guessing(10), passes_by_guessing(15, 2)]
    chances.append(1 - passes_by_guessing(5, 1, slip=0.02))
    assert chances == pytest.approx(list(golden.values()), abs=1e-8)


@pytest.mark.parametrize("name", GOLDEN["kendall_consistency"])
def test_circular_triads(name):
    golden = GOLDEN["kendall_consistency"][name]
    wins = np.array(golden["wins"], float) if "wins" in golden else np.triu(np.ones((5, 5)), 1)
    assert circular_triads(wins) == (golden["circular"], golden["zeta"])


def test_table_1_comes_back():
    golden = GOLDEN["table_1"]
    correlations = {
        name: Correlation(srcc, 11125)
        for name, srcc in zip(golden["models"], golden["srcc"], strict=True)
    }
    found = agree(correlations, dict(zip(golden["models"], golden["map_scores"], strict=True)))
    rows = {row.entrant: row for row in found.rows}
    assert [rows[name].srcc_rank for name in golden["models"]] == golden["srcc_rank"]
    assert [rows[name].map_rank for name in golden["models"]] == golden["map_rank"]
    assert [rows[name].delta for name in golden["models"]] == golden["printed_delta"]
    assert found.spearman == pytest.approx(golden["spearman_between_the_two"], abs=1e-8)
    assert found.exact
    assert found.p == pytest.approx(golden["exact_p_two_sided"], abs=1e-8)
    assert found.kendall == pytest.approx(golden["kendall"])
    for name, intervals in golden["srcc_ci_spaq_n_11125"].items():
        assert rows[name].interval == pytest.approx(intervals["bonett_wright"], abs=1e-6)


def test_intervals_of_few_pictures():
    expected = GOLDEN["table_1"]["srcc_ci_small"]["rho 0.881, n 50"]["bonett_wright"]
    assert srcc_interval(0.881, 50) == pytest.approx(expected, abs=1e-6)
    assert srcc_interval(0.881, None) is None


def test_ties_share_the_better_rank():
    ties = GOLDEN["table_1"]["ties"]
    assert competition_ranks(np.array(ties["values"])) == ties["competition_rank"]
    pair = ties["spearman_with_ties"]
    names = "abcde"
    correlations = {n: Correlation(x / 10, None) for n, x in zip(names, pair["x"], strict=True)}
    found = agree(correlations, dict(zip(names, pair["y"], strict=True)))
    assert found.spearman == pytest.approx(pair["rho"], abs=1e-8)


def test_too_few_correlations_are_refused():
    with pytest.raises(ValueError, match="give it for three"):
        agree({"a": Correlation(0.5, None)}, {"a": 1.0, "b": 0.0, "c": -1.0})


@pytest.mark.parametrize(
    "text", ["entrant\na\n", "entrant,srcc\na,2\n", "entrant,srcc,n\na,.5,3\n", "", "\xff"]
)
def test_unusable_correlations_are_refused_in_one_line(tmp_path, text):
    path = tmp_path / "srcc.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"srcc\.csv"):
        read_correlations(path)


def test_correlations_are_read(tmp_path):
    path = tmp_path / "srcc.csv"
    path.write_text("entrant,srcc,n\nliqe,0.881,11125\nniqe,-0.7,\n")
    expected = {"liqe": Correlation(0.881, 11125), "niqe": Correlation(-0.7, None)}
    assert read_correlations(path) == expected
