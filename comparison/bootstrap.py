"""How scores would vary over other observers and other pictures, by drawing both anew."""

from dataclasses import dataclass

import numpy as np

from .ballots import Ballots, Floats
from .thurstone import fit_many, has_finite_scores

SEED = 20240306


@dataclass(frozen=True)
class Bootstrap:
    """Scores of resampled studies.

    Attributes:
        scores: of those with a finite maximum, (draws, N).
        infinite: number of draws without one, which are left out.
    """

    scores: Floats
    infinite: int

    def interval(self, level: float = 0.05) -> Floats:
        """Percentile interval of each score, (2, N); NaN without any finite draw."""
        if not len(self.scores):
            return np.full((2, self.scores.shape[1]), np.nan)
        return np.quantile(self.scores, [level / 2, 1 - level / 2], axis=0)

    def rank_shares(self) -> Floats:
        """For each entrant the share of draws in which it has each rank, (N, N); rows sum to 1."""
        ranks = (-self.scores).argsort(axis=1).argsort(axis=1)
        size = self.scores.shape[1]
        return np.stack([(ranks == rank).mean(axis=0) for rank in range(size)], axis=1)


def bootstrap(ballots: Ballots, draws: int = 1000, seed: int = SEED) -> Bootstrap:
    """Draw observers and pictures with replacement, and fit the scores again.

    A vote counts as often as its observer was drawn, times as often as its picture was. That is
    careful: of votes that really are independent it finds up to three times the variance.

    Args:
        draws: number of resampled studies, at least 1.
    Returns: the same for the same votes and seed.
    Source: the pigeonhole bootstrap, Owen, Ann. Appl. Stat. 1 (2007).
    """
    generator = np.random.default_rng(seed)
    observers = _drawn(generator, len(ballots.observers), draws)
    pictures = _drawn(generator, len(ballots.pictures), draws)
    if len(ballots.pictures) == 1:
        pictures = np.ones((draws, 1))
    size = len(ballots.entrants)
    # Votes alike in pair, observer and picture share a column, so that one product counts them all.
    cell = ballots.winner * size + ballots.loser
    place = ballots.picture * len(ballots.observers) + ballots.observer
    (groups, cells), counted = np.unique(np.stack([place, cell]), axis=1, return_counts=True)
    picture, observer = np.divmod(groups, len(ballots.observers))
    counts = np.empty((draws, size * size))
    for draw in range(draws):
        weights = observers[draw, observer] * pictures[draw, picture] * counted
        counts[draw] = np.bincount(cells, weights, size * size)
    counts = counts.reshape(draws, size, size)
    finite = has_finite_scores(counts)
    return Bootstrap(fit_many(counts[finite]), int(draws - finite.sum()))


def _drawn(generator: np.random.Generator, number: int, draws: int) -> Floats:
    """How often each of `number` comes up in as many draws with replacement, (draws, number)."""
    drawn = generator.integers(0, number, size=(draws, number))
    return np.stack([np.bincount(row, minlength=number) for row in drawn]).astype(np.float64)
