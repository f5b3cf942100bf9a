"""What is said of an analysis where votes are few, equal or one-sided."""

from dataclasses import replace
from itertools import combinations, product

from latent_map.comparison.caveats import caveats
from latent_map.comparison.report.further_tables import strata_table
from latent_map.comparison.report.tables import ranking_table
from latent_map.comparison.strata import score_strata
from latent_map.comparison.votes import Vote

from .test_study_analyse import analysed, simulated


def votes_on(*pairs, observer="robot-7"):
    """A vote for the first of each pair, on two pictures."""
    rows = [(scene, *pair) for pair in pairs for scene in ("city", "dog")]
    return [
        Vote(observer, "s", scene, winner, loser, True, "left", 900.0, trial)
        for trial, (scene, winner, loser) in enumerate(rows)
    ]


def ranks(analysis):
    table = ranking_table(analysis)
    columns = [column.name for column in table.columns]
    return {row[columns.index("entrant")]: row[columns.index("rank")] for row in table.rows}


def test_equal_entrants_share_a_rank_whatever_they_are_called():
    for name in ("a", "z"):
        analysis = analysed(votes_on(("m", name), ("m", "n"), ("last", "lost"), ("lost", "last")))
        assert {k: v for k, v in ranks(analysis).items() if k in ("m", name, "n")} == {
            "m": 1,
            name: 2,
            "n": 2,
        }
        assert [name for name in analysis.scores if name in ("last", "lost")] == ["last", "lost"]


def test_groups_are_ordered_only_where_wins_lead_from_each_to_the_next():
    text = " ".join(caveats(analysed(votes_on(("best", "a"), ("best", "b")))))
    assert "in both directions: best | a | b." in text
    text = " ".join(caveats(analysed(votes_on(("best", "a"), ("a", "b")))))
    assert "in both directions: best > a > b." in text


def test_one_simulated_observer_is_one():
    first, *_ = caveats(analysed(votes_on(("best", "a"))))
    assert first.startswith("The one observer is simulated (robot-7): their votes")


def test_one_degree_of_freedom_is_one():
    analysis = analysed(simulated(pictures=2, observers=1))
    assert "1 degree of freedom" in ranking_table(analysis).caption


def test_a_stratum_of_one_picture_a_pair_says_why_it_has_no_interval():
    analysis = analysed(simulated())
    pairs = [frozenset(pair) for pair in combinations(analysis.ballots.entrants, 2)]
    strata = {
        (f"picture{number}", pair): "random" if number == place else "discrepancy"
        for (place, pair), number in product(enumerate(pairs), range(8))
    }
    found = replace(analysis, strata=score_strata(analysis.ballots, strata))
    assert "No interval: a typical pair was shown with one picture" in strata_table(found).caption
