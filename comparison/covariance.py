"""How uncertain scores are, when votes about one picture, or by one observer, go together.

The usual covariance takes all votes to be independent. Pictures differ in which entrant they suit,
and observers in taste; then it is far too small. The sandwich V = H^-1 M H^-1 needs no model of
either: M sums the votes' pulls on the scores within pictures and within observers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .ballots import Ballots, Floats, Ints
from .thurstone import SCALE, Fit, hazard

Clustering = Literal["pictures and observers", "pictures", "observers", "independent votes"]
INDEFINITE = -1e-9  # smallest eigenvalue, relative to the largest, that is still rounding
VANISHING = 0.01  # of the variance of independent votes: clusters alike by a coincidence of numbers


@dataclass(frozen=True)
class Covariance:
    """Uncertainty of scores.

    Attributes:
        clustering: what is taken to go together.
        matrix: (N, N).
        alternatives: where the two-way matrix has a negative variance in some direction: those by
            pictures and by observers, of which the larger variance is used.
        clusters: number of the fewest clusters; degrees of freedom are one less. 0: no clusters.
        independent: the matrix if votes were independent, whose variances stand in for clustered
            ones that vanish: a few clusters may agree to the vote.
    """

    clustering: Clustering
    matrix: Floats
    alternatives: tuple[Floats, ...]
    clusters: int
    independent: Floats

    def of_scores(self) -> Floats:
        """Variance of each score, (N,)."""
        return self._without_vanishing(np.diag)

    def of_differences(self) -> Floats:
        """Variance of each difference of two scores, (N, N)."""
        return self._without_vanishing(_differences)

    def vanishing(self) -> bool:
        """Whether the variance of independent votes stands in for that of some difference."""
        clustered, independent = self._both(_differences)
        return bool(((clustered < VANISHING * independent) & (independent > 0)).any())

    def _both(self, variances: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
        used = self.alternatives or (self.matrix,)
        clustered = np.max([variances(matrix) for matrix in used], axis=0)
        return clustered.clip(0), variances(self.independent).clip(0)

    def _without_vanishing(self, variances: Callable[[Floats], Floats]) -> Floats:
        clustered, independent = self._both(variances)
        return np.where(clustered < VANISHING * independent, independent, clustered)


def _differences(matrix: Floats) -> Floats:
    return np.diag(matrix)[:, None] + np.diag(matrix)[None] - 2 * matrix


def independent_votes(fit: Fit) -> Covariance:
    """As if all votes were independent: the inverse of the observed information."""
    return Covariance("independent votes", fit.covariance, (), 0, fit.covariance)


def clustered(ballots: Ballots, fit: Fit) -> Covariance:
    """Pictures and observers as clusters; where there is only one of either, the other alone.

    The summed pull of all votes is zero at the maximum, so a single cluster would say that nothing
    is uncertain. The number of pictures is that of a typical pair (the median).

    Source: two-way clustering as in Cameron, Gelbach and Miller, J. Bus. Econ. Stat. 29 (2011),
        without small-sample factors.
    """
    pulls = _pulls(ballots, fit)
    by_picture = _sandwich(fit, pulls, ballots.picture)
    by_observer = _sandwich(fit, pulls, ballots.observer)
    pictures = int(np.median(ballots.pictures_per_pair()))
    observers = len(ballots.observers)
    if min(len(ballots.pictures), observers) == 1:
        if max(pictures, observers) == 1:
            return independent_votes(fit)
        alone: Clustering = "pictures" if observers == 1 else "observers"
        matrix = by_picture if observers == 1 else by_observer
        fewest = pictures if observers == 1 else observers
        return Covariance(alone, matrix, (), fewest, fit.covariance)
    both = ballots.picture * observers + ballots.observer
    two_way = by_picture + by_observer - _sandwich(fit, pulls, both)
    eigenvalues = np.linalg.eigvalsh(two_way)
    indefinite = eigenvalues[0] < INDEFINITE * eigenvalues[-1]
    alternatives = (by_picture, by_observer) if indefinite else ()
    fewest = min(pictures, observers)
    return Covariance("pictures and observers", two_way, alternatives, fewest, fit.covariance)


def clustered_by(ballots: Ballots, fit: Fit, clusters: Ints) -> Floats:
    """The covariance for any one clustering: `clusters` numbers the cluster of each vote."""
    return _sandwich(fit, _pulls(ballots, fit), clusters)


def _pulls(ballots: Ballots, fit: Fit) -> Floats:
    """Derivative of each vote's log likelihood with respect to the scores, (n, N)."""
    distance = (fit.scores[ballots.winner] - fit.scores[ballots.loser]) / SCALE
    pull = hazard(distance) / SCALE
    rows = np.arange(len(ballots))
    pulls = np.zeros((len(ballots), len(ballots.entrants)))
    pulls[rows, ballots.winner], pulls[rows, ballots.loser] = pull, -pull
    return pulls


def _sandwich(fit: Fit, pulls: Floats, clusters: Ints) -> Floats:
    _, numbers = np.unique(clusters, return_inverse=True)
    sums = np.zeros((numbers.max() + 1, pulls.shape[1]))
    np.add.at(sums, numbers, pulls)
    return fit.covariance @ (sums.T @ sums) @ fit.covariance
