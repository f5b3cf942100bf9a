"""The tables of an analysis: ranking, tests, votes, shares, observers."""

import numpy as np

from ..analysis import Analysis
from ..covariance import Covariance
from ..observers import passes_by_guessing
from ..significance import degrees_of_freedom, places, quantile
from .table import Column, Table, number, p_value, percent

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SCORE, SIGNED = number(3), number(3, sign=True)


def group_letters(analysis: Analysis) -> dict[int, str]:
    """For each entrant the letters of its groups: those who share one are not told apart."""
    letters = dict.fromkeys(analysis.order, "")
    for place, members in enumerate(analysis.groups):
        for entrant in members:
            turn, letter = divmod(place, len(LETTERS))
            letters[entrant] += LETTERS[letter] + ("" if not turn else str(turn))
    return letters


def half_widths(analysis: Analysis) -> np.ndarray:
    """Half width of each score's interval."""
    wide = quantile(analysis.covariance, analysis.settings.level)
    return wide * np.sqrt(analysis.covariance.of_scores())


def ranking_table(analysis: Analysis) -> Table:
    """Scores, their intervals and groups."""
    fit, names = analysis.fit, analysis.ballots.entrants
    counts, letters = analysis.ballots.counts(), group_letters(analysis)
    half, naive = half_widths(analysis), np.sqrt(analysis.independent.of_scores())
    errors, level = np.sqrt(analysis.covariance.of_scores()), 100 * (1 - analysis.settings.level)
    interval = analysis.drawn.interval(analysis.settings.level) if analysis.drawn else None
    ranks = analysis.drawn.rank_shares() if analysis.drawn and len(analysis.drawn.scores) else None
    rows = []
    place = places(fit)
    for entrant in analysis.order:
        island = int(fit.components.weak[entrant])
        wins, votes = counts[entrant].sum(), counts[entrant].sum() + counts[:, entrant].sum()
        score = float(fit.scores[entrant])
        rows.append(
            (
                *(island + 1, int(place[entrant]), names[entrant], score),
                *(score - half[entrant], score + half[entrant]),
                *(errors[entrant], naive[entrant]),
                *(interval[:, entrant] if interval is not None else (None, None)),
                ranks[entrant, 0] if ranks is not None else None,
                *(int(votes), int(wins), float(wins / votes), letters[entrant]),
                "regularised" if fit.regularised[entrant] else "",
            )
        )
    columns = [
        Column("island", "island"),
        Column("rank", "rank"),
        Column("entrant", "entrant"),
        Column("score", "score", SIGNED),
        Column("low", f"{level:g} % interval", SIGNED),
        Column("high", "", SIGNED, ends=True),
        Column("standard_error", "standard error", SCORE),
        Column("independent_error", "were votes independent", SCORE),
        Column("bootstrap_low", "bootstrap interval", SIGNED),
        Column("bootstrap_high", "", SIGNED, ends=True),
        Column("drawn_first", "first in draws", percent),
        Column("votes", "votes"),
        Column("wins", "wins"),
        Column("share", "share of votes", percent),
        Column("groups", "groups"),
        Column("mark", "mark"),
    ]
    empty = {"island": fit.connected, "mark": not fit.regularised.any()}
    empty |= dict.fromkeys(("bootstrap_low", "bootstrap_high"), interval is None)
    empty |= {"drawn_first": ranks is None}
    keep = [at for at, column in enumerate(columns) if not empty.get(column.name)]
    caption = (
        f"{_fit_words(analysis)} Entrants that share a group's letter are not told apart. Use the "
        "tests of differences, not the overlap of intervals, to tell entrants apart."
    )
    return Table(
        "ranking",
        "Ranking",
        [columns[at] for at in keep],
        [[_own(row[at]) for at in keep] for row in rows],
        caption,
    )


def _own(value: object) -> object:
    """A number of Python's own in place of numpy's."""
    return value.item() if isinstance(value, np.generic) else value


def _fit_words(analysis: Analysis) -> str:
    words, drawn = f"Errors: {clustering_words(analysis.covariance)}.", analysis.drawn
    if drawn:
        lost = f", {drawn.infinite} without finite scores" if drawn.infinite else ""
        words += (
            f" Bootstrap: {analysis.settings.draws} draws of observers and pictures{lost}; it is "
            "careful, up to 1.7 times as wide when votes are independent."
        )
    return words


def clustering_words(covariance: Covariance) -> str:
    """What the errors allow for."""
    if not covariance.clusters:
        return "as if votes were independent"
    degrees = f"Student's t, {degrees_of_freedom(covariance.clusters - 1)}"
    return f"clustered by {covariance.clustering} ({degrees})"


def comparisons_table(analysis: Analysis) -> Table:
    """Tests of all pairs."""
    names, counts = analysis.ballots.entrants, analysis.ballots.counts()
    level = analysis.settings.level
    rows = []
    for row in analysis.comparisons:
        votes = int(counts[row.first, row.second] + counts[row.second, row.first])
        verdict = "different" if row.holm_p < level else "not told apart"
        if np.isnan(row.p):
            verdict = "cannot be tested"
        rows.append(
            (
                *(names[row.first], names[row.second], votes, row.difference, row.standard_error),
                *(row.statistic, row.p, row.holm_p, verdict, row.independent_p),
            )
        )
    statistic = "t" if analysis.covariance.clusters else "z"
    columns = [
        Column("first", "higher"),
        Column("second", "lower"),
        Column("votes", "votes"),
        Column("difference", "difference", SCORE),
        Column("standard_error", "standard error", SCORE),
        Column("statistic", statistic, number(2)),
        Column("p", "p", p_value),
        Column("holm_p", "Holm p", p_value),
        Column("verdict", f"at {level:g}"),
        Column("independent_p", "p, were votes independent", p_value),
    ]
    caption = (
        f"Wald tests, two-sided, errors {clustering_words(analysis.covariance)}; Holm corrects for "
        f"all {len(rows)} pairs. The last column is what studies that take every vote for "
        "independent would report."
    )
    return Table("comparisons", "Tests of all pairs", columns, rows, caption)


def counts_table(analysis: Analysis) -> Table:
    """How often row was preferred to column."""
    names, counts = analysis.ballots.entrants, analysis.ballots.counts()
    columns = [Column("entrant", "preferred to")]
    columns += [Column(names[i], names[i]) for i in analysis.order]
    rows = [
        [names[i], *(None if i == j else int(counts[i, j]) for j in analysis.order)]
        for i in analysis.order
    ]
    return Table("counts", "Votes: row preferred to column", columns, rows)


def shares_table(analysis: Analysis, against: int | None = None) -> Table:
    """Shares of votes of all pairs, or of one entrant's."""
    names, percents = analysis.ballots.entrants, 100 * (1 - analysis.settings.level)
    rows = [
        (
            *(names[s.entrant], names[s.opponent], s.wins, s.votes, s.pictures, s.share),
            *(*s.interval, s.effective_votes, *s.independent, s.difference),
        )
        for s in analysis.shares
        if against in (None, s.entrant)
    ]
    columns = [
        Column("entrant", "entrant"),
        Column("opponent", "against"),
        Column("wins", "wins"),
        Column("votes", "votes"),
        Column("pictures", "pictures"),
        Column("share", "share", percent),
        Column("low", f"{percents:g} % interval", percent),
        Column("high", "", percent, ends=True),
        Column("effective_votes", "effective votes", number(1)),
        Column("independent_low", "were votes independent", percent),
        Column("independent_high", "", percent, ends=True),
        Column("difference", "as a difference", SIGNED),
    ]
    caption = (
        "Wilson's intervals, for as many independent votes as the spread between pictures leaves. "
        "No scale is fitted: the last column is what this share alone would mean."
    )
    return Table("shares", "Shares of votes of all pairs", columns, rows, caption)


def against_table(analysis: Analysis) -> Table:
    """One entrant against each other, as in Section V-B of the paper."""
    name = analysis.ballots.entrants[analysis.against]
    table = shares_table(analysis, analysis.against)
    return table._replace(name="against", title=f"{name} against each other entrant")


def observers_table(analysis: Analysis) -> Table:
    """What each observer's votes say about the observer."""
    rows = [
        (
            *(o.name, o.votes, o.agreement.log10_likelihood, o.agreement.distance),
            *(o.left / o.sided if o.sided else None, o.side_p),
            *(f"{o.traps_failed} of {o.traps}" if o.traps else None,),
            *(f"{o.repeats_alike} of {o.repeats}" if o.repeats else None,),
            *(o.median_ms / 1000, "; ".join(o.look_into)),
        )
        for o in analysis.observers
    ]
    columns = [
        Column("observer", "observer"),
        Column("votes", "votes"),
        Column("log10_likelihood", "log10 likelihood", number(3)),
        Column("distance", "IQR below", number(2)),
        Column("left_share", "voted left", percent),
        Column("left_p", "p of no side bias", p_value),
        Column("traps_failed", "traps failed"),
        Column("repeats_alike", "repeats alike"),
        Column("median_seconds", "median seconds", number(1)),
        Column("look_into", "look into"),
    ]
    guess = passes_by_guessing(max((o.traps for o in analysis.observers), default=0))
    caption = (
        "Likelihood of an observer's votes under the scores that all others give, and how far it "
        "is below the first quartile; look into 1.5 and more. Nobody is left out unasked."
    )
    if any(o.traps for o in analysis.observers):
        caption += f" Who guesses fails at most one trap with probability {guess:.4f}."
    return Table("observers", "Observers", columns, rows, caption)
