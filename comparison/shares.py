"""Shares of votes of one entrant against another, with intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from .ballots import Ballots
from .thurstone import difference_of


class Interval(NamedTuple):
    """From low to high."""

    low: float
    high: float


class Share(NamedTuple):
    """How often one entrant was preferred to another.

    Attributes:
        entrant, opponent: indices.
        wins, votes, pictures: numbers.
        share: wins / votes.
        difference: of scores that this share alone means; infinite at 0 and 1.
        independent: Wilson's interval, as if all votes were independent.
        interval: Wilson's interval for `effective_votes`.
        effective_votes: votes, divided by how much more pictures vary than chance would have them.
    """

    entrant: int
    opponent: int
    wins: int
    votes: int
    pictures: int
    share: float
    difference: float
    independent: Interval
    interval: Interval
    effective_votes: float


def wilson(share: float, votes: float, level: float = 0.05) -> Interval:
    """Wilson's interval of a share of `votes` votes.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927).
    """
    if votes <= 0:
        return Interval(0.0, 1.0)
    z = float(norm.ppf(1 - level / 2))
    width = z * np.sqrt(share * (1 - share) / votes + z * z / (4 * votes * votes))
    middle, whole = share + z * z / (2 * votes), 1 + z * z / votes
    return Interval(
        float(max(0.0, (middle - width) / whole)), float(min(1.0, (middle + width) / whole))
    )


def shares(ballots: Ballots, level: float = 0.05) -> list[Share]:
    """Every ordered pair of entrants that was compared, each for itself: no scale is fitted."""
    size = len(ballots.entrants)
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    found = (_share(ballots, i, j, level) for i, j in pairs)
    return [share for share in found if share.votes]


def mean_design_effect(found: Sequence[Share]) -> float:
    """Votes in effective votes, mean over pairs of entrants."""
    return float(np.mean([share.votes / share.effective_votes for share in found]))


def _share(ballots: Ballots, entrant: int, opponent: int, level: float) -> Share:
    won = (ballots.winner == entrant) & (ballots.loser == opponent)
    lost = (ballots.winner == opponent) & (ballots.loser == entrant)
    size = len(ballots.pictures)
    wins = np.bincount(ballots.picture[won], minlength=size)
    votes = wins + np.bincount(ballots.picture[lost], minlength=size)
    total, pictures = int(votes.sum()), int((votes > 0).sum())
    share = float(wins.sum() / total) if total else 0.5
    effective = total / _design_effect(wins, votes, share)
    return Share(
        entrant,
        opponent,
        int(wins.sum()),
        total,
        pictures,
        share,
        float(difference_of(share)),
        wilson(share, total, level),
        wilson(share, effective, level),
        effective,
    )


def _design_effect(wins: np.ndarray, votes: np.ndarray, share: float) -> float:
    """Variance of the share over pictures as clusters, in that of independent votes; at least 1.

    Source: the ratio estimator of survey sampling (Kish, Survey Sampling, 1965).
    """
    pictures, total = int((votes > 0).sum()), int(votes.sum())
    if pictures < 2 or not 0 < share < 1:
        return 1.0
    clustered = ((wins - share * votes) ** 2).sum() * pictures / (pictures - 1) / total**2
    return max(1.0, float(clustered / (share * (1 - share) / total)))
