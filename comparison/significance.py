"""Which differences of scores the votes prove, and which entrants stay together."""

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2, norm, rankdata, studentized_range, t

from .ballots import Bools, Floats, Ints
from .covariance import Covariance
from .thurstone import DECIMALS, Fit


class Comparison(NamedTuple):
    """The test of one pair of entrants.

    Attributes:
        first, second: entrants, the one of higher score first.
        difference: of their scores.
        standard_error: of it, with its clusters.
        statistic: difference / standard error.
        p: two-sided; NaN if the votes cannot tell (no link, or a single cluster).
        holm_p: corrected for all pairs.
        independent_p: the p that would follow if all votes were independent.
    """

    first: int
    second: int
    difference: float
    standard_error: float
    statistic: float
    p: float
    holm_p: float
    independent_p: float


class Starks(NamedTuple):
    """David's check of a balanced round robin, which needs no iteration.

    Attributes:
        wins: of each entrant.
        statistic, degrees_of_freedom, p: of the hypothesis that all are alike.
        least_difference: of wins, for one pair chosen beforehand.
        honest_difference: of wins, for all pairs at once.
    """

    wins: tuple[float, ...]
    statistic: float
    degrees_of_freedom: int
    p: float
    least_difference: float
    honest_difference: float


def compare_all(fit: Fit, covariance: Covariance, independent: Covariance) -> list[Comparison]:
    """Wald tests of all pairs of entrants, those of higher score first.

    With clusters the reference is Student's t with one degree of freedom less than clusters,
    otherwise the normal distribution. Pairs on two islands have no difference: their p is NaN.
    """
    order = ranking(fit)
    size, weak = len(order), fit.components.weak
    first, second = (order[part] for part in np.triu_indices(size, 1))
    difference = fit.scores[first] - fit.scores[second]
    error = np.sqrt(covariance.of_differences()[first, second])
    apart = weak[first] != weak[second]
    p = _two_sided(difference, error, covariance.clusters)
    plain = _two_sided(difference, np.sqrt(independent.of_differences()[first, second]), 0)
    for values in (difference, error, p, plain):
        values[apart] = np.nan
    statistic = np.divide(difference, error, out=np.full_like(error, np.nan), where=error > 0)
    rows = zip(first, second, difference, error, statistic, p, holm(p), plain, strict=True)
    return [Comparison(int(i), int(j), *map(float, rest)) for i, j, *rest in rows]


def _two_sided(difference: Floats, error: Floats, clusters: int) -> Floats:
    if clusters == 1:
        return np.full_like(difference, np.nan)
    statistic = np.divide(
        np.abs(difference), error, out=np.full_like(error, np.nan), where=error > 0
    )
    return 2 * (t.sf(statistic, clusters - 1) if clusters else norm.sf(statistic))


def ranking(fit: Fit) -> np.ndarray:
    """Entrants from the highest score to the lowest, island by island; of equals the first."""
    return np.lexsort((-np.round(fit.scores, DECIMALS), fit.components.weak))


def places(fit: Fit) -> Ints:
    """Each entrant's rank on its island: equals share the better one, and the next is skipped."""
    found = np.zeros(len(fit.scores), np.intp)
    for island in range(fit.components.weak.max() + 1):
        members = np.flatnonzero(fit.components.weak == island)
        found[members] = rankdata(-np.round(fit.scores[members], DECIMALS), method="min")
    return found


def degrees_of_freedom(number: int) -> str:
    """So many, in words."""
    return f"{number} degree{'' if number == 1 else 's'} of freedom"


def quantile(covariance: Covariance, level: float = 0.05) -> float:
    """Half width of an interval, in standard errors; NaN if a single cluster tells nothing."""
    if covariance.clusters == 1:
        return float("nan")
    if covariance.clusters:
        return float(t.ppf(1 - level / 2, covariance.clusters - 1))
    return float(norm.ppf(1 - level / 2))


def holm(p: Floats) -> Floats:
    """Holm's step-down p-values; NaN stay NaN and count as no test.

    Source: Holm, Scand. J. Statist. 6 (1979).
    """
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def group(order: np.ndarray, apart: Bools) -> list[tuple[int, ...]]:
    """Longest runs of the ranking in which no two entrants are told apart; they may overlap.

    Args:
        order: entrants by rank.
        apart: for each pair of entrants whether the votes tell them apart, (N, N), symmetric.
    """
    runs: list[tuple[int, ...]] = []
    reach = 0
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not apart[order[start:stop], order[stop]].any():
            stop += 1
        if stop > reach:
            runs.append(tuple(int(entrant) for entrant in order[start:stop]))
            reach = stop
    return runs


def told_apart(comparisons: list[Comparison], fit: Fit, level: float = 0.05) -> Bools:
    """For each pair of entrants whether Holm's p is below the level, or no vote links them."""
    size = len(fit.scores)
    apart = fit.components.weak[:, None] != fit.components.weak[None]
    for row in comparisons:
        if row.holm_p < level:
            apart[row.first, row.second] = apart[row.second, row.first] = True
    return apart.reshape(size, size)


def starks_david(counts: Floats, level: float = 0.05) -> Starks | None:
    """David's tests on the numbers of wins; None unless all pairs have equally many votes.

    They take votes to be independent, as the naive Wald test does.

    Source: Starks and David, Biometrika 48 (1961).
    """
    size, both = len(counts), (counts + counts.T)[~np.eye(len(counts), dtype=bool)]
    if size < 2 or both.min() != both.max() or not both.max():
        return None
    votes, wins = float(both[0]), counts.sum(axis=1)
    statistic = 4 * float(((wins - wins.mean()) ** 2).sum()) / (votes * size)
    root = np.sqrt(votes * size)
    least = float(norm.ppf(1 - level / 2) * root / np.sqrt(2))
    honest = float(studentized_range.ppf(1 - level, size, np.inf) * root / 2)
    p = float(chi2.sf(statistic, size - 1))
    return Starks(tuple(wins.tolist()), statistic, size - 1, p, least, honest)
