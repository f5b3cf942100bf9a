"""What observers' votes say about them: to look into, never a reason to drop one silently."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binom, binomtest

from ..files.natural_order import natural
from .ballots import Ballots, Floats
from .thurstone import fit_scores, preference
from .votes import SPOILT, Vote

FAR = 1.5  # interquartile ranges below the first quartile: look into it
FEWEST_FOR_QUARTILES = 4
TRAPS_FAILED = 1  # more than so many: look into it


class Agreement(NamedTuple):
    """How likely an observer's votes are to all others.

    Attributes:
        log10_likelihood: mean over the observer's pairs of entrants; NaN if none can be judged.
        distance: below the first quartile of all observers, in interquartile ranges, at least 0.
    """

    log10_likelihood: float
    distance: float


class Observer(NamedTuple):
    """One observer.

    Attributes:
        name: as in the votes.
        votes: of kind "study".
        agreement: with the others.
        left, sided: votes for the left picture, and votes whose side is known.
        side_p: exact, two-sided, of left = right; NaN without sides.
        traps_failed, traps: how often the obviously worse picture was preferred.
        repeats_alike, repeats: how often a pair asked again was answered as before.
        median_ms: time to a study vote; NaN if not recorded.
        look_into: why, in words; empty if there is no reason.
    """

    name: str
    votes: int
    agreement: Agreement
    left: int
    sided: int
    side_p: float
    traps_failed: int
    traps: int
    repeats_alike: int
    repeats: int
    median_ms: float
    look_into: tuple[str, ...]


def describe_observers(votes: Sequence[Vote], ballots: Ballots) -> list[Observer]:
    """Every observer of a study vote, in the natural order of their names."""
    by_observer: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_observer[vote.observer].append(vote)
    tables = [ballots.of_observer(place) for place in range(len(ballots.observers))]
    agreements = screen(tables)
    found = dict(zip(ballots.observers, agreements, strict=True))
    return [_describe(name, by_observer[name], found[name]) for name in sorted(found, key=natural)]


def _describe(name: str, votes: Sequence[Vote], agreement: Agreement) -> Observer:
    study = [vote for vote in votes if vote.kind == "study"]
    left, sided = count_left(study)
    side_p = binomtest(left, sided).pvalue if sided else float("nan")
    traps = [vote for vote in votes if vote.kind == "trap"]
    failed = sum(vote.winner == SPOILT for vote in traps)
    alike, repeats = count_alike(votes)
    times = [vote.rt_ms for vote in study if vote.rt_ms is not None]
    reasons = []
    if agreement.distance >= FAR:
        reasons.append(f"votes unlike the others' ({agreement.distance:.1f} IQR)")
    if failed > TRAPS_FAILED:
        reasons.append(f"{failed} of {len(traps)} traps failed")
    median = float(np.median(times)) if times else float("nan")
    known = left, sided, float(side_p), failed, len(traps), alike, repeats, median
    return Observer(name, len(study), agreement, *known, tuple(reasons))


def screen(tables: Sequence[Floats]) -> list[Agreement]:
    """Each observer's agreement with the others.

    For every pair of entrants the probability of the observer's votes, binomial, under the scores
    that all others' votes give. Fewer than four observers have no quartiles worth the name.

    Args:
        tables: for each observer the counts, (N, N).
    Source: pwcmp (Perez-Ortiz and Mantiuk, arXiv 1712.03686), `pw_outlier_analysis`.
    """
    total = np.sum(tables, axis=0)
    likelihoods = np.array([_log10_likelihood(table, total - table) for table in tables])
    known = likelihoods[~np.isnan(likelihoods)]
    distances = np.zeros(len(tables))
    if len(known) >= FEWEST_FOR_QUARTILES:
        first, third = np.quantile(known, [0.25, 0.75], method="hazen")
        below = np.nan_to_num(first - likelihoods, nan=0.0).clip(0)
        spread = third - first
        distances = below / spread if spread > 0 else np.where(below > 0, np.inf, 0.0)
    return [
        Agreement(float(likelihood), float(distance))
        for likelihood, distance in zip(likelihoods, distances, strict=True)
    ]


def _log10_likelihood(own: Floats, others: Floats) -> float:
    votes = own + own.T
    fit = fit_scores(others)
    joined = fit.components.weak[:, None] == fit.components.weak[None]
    first, second = np.nonzero(np.triu((votes > 0) & joined))
    if not len(first):
        return float("nan")
    chances = preference(fit.scores[first] - fit.scores[second])
    return float(
        (binom.logpmf(own[first, second], votes[first, second], chances) / np.log(10)).mean()
    )


def count_left(votes: Iterable[Vote]) -> tuple[int, int]:
    """Votes for the left picture, and votes whose side is known."""
    sided = [vote for vote in votes if vote.side]
    return sum(vote.is_a_selected == (vote.side == "left") for vote in sided), len(sided)


def count_alike(votes: Iterable[Vote]) -> tuple[int, int]:
    """Repeats answered as before, and repeats whose first answer is there."""
    first: dict[tuple[str, str, frozenset[str]], str] = {}
    alike = repeats = 0
    for vote in sorted(votes, key=lambda vote: vote.kind == "repeat"):
        key = vote.observer, vote.scene, frozenset((vote.condition_a, vote.condition_b))
        if vote.kind == "study":
            first.setdefault(key, vote.winner)
        elif vote.kind == "repeat" and key in first:
            repeats += 1
            alike += first[key] == vote.winner
    return alike, repeats


def passes_by_guessing(traps: int, failed: int = TRAPS_FAILED, slip: float = 0.5) -> float:
    """Probability of at most `failed` failures in `traps` traps, each failed with `slip`."""
    return float(binom.cdf(failed, traps, slip))


def circular_triads(wins: Floats) -> tuple[float, float]:
    """Kendall's number of circular triads of one complete round robin, and his zeta.

    Args:
        wins: 1 where row beat column, (N, N), one vote a pair, N at least 3.
    Returns: the number, and zeta = 1 - number / most: 1 for a perfectly transitive judge.
    Source: Kendall and Babington Smith, Biometrika 31 (1940).
    """
    size = len(wins)
    scores = wins.sum(axis=1)
    circular = size * (size - 1) * (2 * size - 1) / 12 - float((scores**2).sum()) / 2
    most = (size**3 - (4 * size if size % 2 == 0 else size)) / 24
    return circular, 1 - circular / most
