"""Further tables of an analysis: Table I, checks by other tests, planning, and unusable rows."""

from collections.abc import Iterator

import numpy as np

from ..analysis import Analysis
from ..sample_size import POWER, detectable, votes_needed
from ..significance import degrees_of_freedom, quantile
from .table import Column, Table, number, p_value, percent

SHARES = (0.55, 0.6, 0.65, 0.7, 0.75)  # true shares for planning
SCORE, SIGNED = number(3), number(3, sign=True)


def rank_agreement_table(analysis: Analysis) -> Table:
    """Table I."""
    found = analysis.agreement
    columns = [
        Column("entrant", "entrant"),
        Column("srcc", "SRCC", number(3)),
        Column("srcc_low", "95 % interval", number(3)),
        Column("srcc_high", "", number(3), ends=True),
        Column("srcc_rank", "SRCC rank"),
        Column("score", "score", SIGNED),
        Column("map_rank", "MAP rank"),
        Column("delta", "change", number(0, sign=True)),
    ]
    if not found:
        return Table("rank_agreement", "", columns, [])
    rows = [
        (
            *(row.entrant, row.srcc, *(row.interval or (None, None))),
            *(row.srcc_rank, row.score, row.map_rank, row.delta),
        )
        for row in found.rows
    ]
    how = "over all orders" if found.exact else "by the t approximation"
    caption = (
        f"Spearman between the two orders {found.spearman:.3f} (two-sided p {found.p:.3f} {how}), "
        f"Kendall {found.kendall:.3f}. Intervals of SRCC (Bonett and Wright) are of each alone; "
        "models rated on the same pictures need a paired test."
    )
    return Table("rank_agreement", "Ranks by SRCC and by pictures", columns, rows, caption)


def starks_table(analysis: Analysis) -> Table:
    """David's check."""
    found, names = analysis.starks, analysis.ballots.entrants
    columns = [Column("entrant", "entrant"), Column("wins", "wins")]
    if not found:
        return Table("david", "", columns, [])
    rows = [(names[entrant], int(found.wins[entrant])) for entrant in analysis.order]
    caption = (
        f"All alike: D = {found.statistic:.2f} on {degrees_of_freedom(found.degrees_of_freedom)}, "
        f"p {p_value(found.p)}. Two entrants named beforehand differ from "
        f"{found.least_difference:.1f} wins on, any two from {found.honest_difference:.1f} on. No "
        "iteration is needed, but votes are taken for independent."
    )
    return Table("david", "David's range test, a check", columns, rows, caption)


def strata_table(analysis: Analysis) -> Table:
    """Scores of each stratum of pictures beside each other."""
    columns, names = [Column("entrant", "entrant")], analysis.ballots.entrants
    rows: list[list[object]] = [[names[entrant]] for entrant in analysis.order]
    marked = False
    for stratum in analysis.strata:
        wide = quantile(stratum.covariance, analysis.settings.level)
        half = wide * np.sqrt(stratum.covariance.of_scores())
        columns += [
            Column(f"{stratum.name}_score", stratum.name, SIGNED),
            Column(f"{stratum.name}_low", "interval", SIGNED),
            Column(f"{stratum.name}_high", "", SIGNED, ends=True),
            Column(f"{stratum.name}_votes", "votes"),
        ]
        marked |= bool(stratum.fit.regularised.any()) or not stratum.fit.connected
        for row, i in zip(rows, analysis.order, strict=True):
            votes = int(stratum.counts[i].sum() + stratum.counts[:, i].sum())
            score = float(stratum.fit.scores[i]) if votes else float("nan")
            row += [score, score - float(half[i]), score + float(half[i]), votes]
    caption = (
        "Each stratum of pictures by itself, with its own sum of zero. Pictures chosen for their "
        "discrepancy spread the scores; those drawn at random say what to expect of any picture."
    )
    if any(stratum.covariance.clusters == 1 for stratum in analysis.strata):
        caption += (
            " No interval: a typical pair was shown with one picture of that stratum, which tells "
            "nothing of others."
        )
    if marked:
        caption += (
            " Where a stratum's votes leave scores infinite, they are regularised; where no vote "
            "links entrants, they cannot be compared."
        )
    title = "Strata of pictures"
    return Table("strata", title, columns, rows if analysis.strata else [], caption)


def per_picture_table(analysis: Analysis) -> Table:
    """Paired t-tests over pictures, where each picture has scores of its own."""
    columns = [
        Column("first", "higher"),
        Column("second", "lower"),
        Column("difference", "mean difference (logits)", SCORE),
        Column("statistic", "t", number(2)),
        Column("p", "p", p_value),
    ]
    found, names = analysis.per_picture, analysis.ballots.entrants
    if not found:
        return Table("per_picture", "", columns, [])
    means = found.scores.mean(axis=0)
    rows = [
        (
            *(names[test.first], names[test.second]),
            *(float(means[test.first] - means[test.second]), test.statistic, test.p),
        )
        for test in found.tests
    ]
    caption = (
        "Bradley-Terry scores of each picture for itself, and paired t-tests over "
        f"{len(found.scores)} pictures, uncorrected, as Ding et al. (2021) do."
    )
    return Table("per_picture", "Pictures scored one by one", columns, rows, caption)


def planning_table(analysis: Analysis) -> Table:
    """Votes that the next study needs."""
    effect = design_effect(analysis)
    pairs = max(1, len(analysis.comparisons))
    level = analysis.settings.level
    rows = []
    for share in SHARES:
        alone, all_pairs = votes_needed(share, level), votes_needed(share, level / pairs)
        known = not np.isnan(effect)
        rows.append((share, alone, all_pairs, int(np.ceil(all_pairs * effect)) if known else None))
    columns = [
        Column("share", "true share", percent),
        Column("votes", "independent votes, one pair"),
        Column("votes_all_pairs", f"corrected for {pairs} pairs"),
        Column("votes_as_here", "the same with this study's design effect"),
    ]
    return Table("planning", "For the next study: votes a pair", columns, rows, _planning(analysis))


def _planning(analysis: Analysis) -> str:
    caption = f"Votes a pair for a power of {POWER:g}."
    effect, wide = design_effect(analysis), quantile(analysis.covariance, analysis.settings.level)
    errors = [row.standard_error for row in analysis.comparisons]
    if not np.isnan(effect) and not np.isnan(wide):
        least = detectable(float(np.nanmedian(errors)), wide)
        caption += (
            f" This study's design effect is {effect:.1f} (median over pairs: how much larger the "
            f"clustered variance is than that of independent votes, at least 1). It could see a "
            f"difference of {least:.2f} with that power, uncorrected. More pictures help more than "
            "more observers."
        )
    return caption


def design_effect(analysis: Analysis) -> float:
    """Median over pairs of the clustered variance of differences in the naive one, at least 1."""
    upper = np.triu_indices(len(analysis.order), 1)
    weak = analysis.fit.components.weak
    joined = (weak[:, None] == weak[None])[upper]
    clustered = analysis.covariance.of_differences()[upper][joined]
    naive = analysis.independent.of_differences()[upper][joined]
    return max(1.0, float(np.median(clustered / naive))) if len(naive) else float("nan")


def rows_table(analysis: Analysis) -> Table:
    """Rows of the vote files that could not be used, or not whole."""
    columns = [
        Column("file", "file"),
        Column("line", "line"),
        Column("text", "what is wrong"),
        Column("counted", "counted", lambda value: "yes, without it" if value else "no"),
    ]
    return Table("rows", "Rows of the vote files", columns, list(_flaws(analysis)))


def _flaws(analysis: Analysis) -> Iterator[tuple[str, int, str, bool]]:
    for flaw in analysis.read.flaws:
        yield flaw.file, flaw.line, flaw.text, flaw.counted
