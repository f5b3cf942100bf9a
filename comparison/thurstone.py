"""Thurstone's Case V by maximum likelihood: votes between pairs to one scale.

P(i preferred to j) = Phi((mu_i - mu_j) / (sqrt(2) sigma)), and mu maximises the sum of
C_ij log Phi(.), Eq. (19) of Zhang et al., arXiv 2403.06406. As printed, that equation lacks the
logarithm; without it the sum grows for ever along almost any direction, and no maximum exists.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.special import log_ndtr
from scipy.stats import chi2, norm

from .ballots import Bools, Floats, Ints

SIGMA = 1.0484  # a difference of 1 is then a preference of 75:25: one just-objectionable difference
SCALE = float(np.sqrt(2) * SIGMA)
DECIMALS = 9  # of a score: beyond them equals differ by the rounding of the fit
PSEUDO_VOTES = 0.5  # each way on each compared pair, where the maximum is at infinity
STEPS, TOLERANCE, HALVINGS = 100, 1e-11, 30


class Components(NamedTuple):
    """How the votes connect the entrants.

    Attributes:
        strong: groups of entrants that are linked by wins in both directions, best first where one
            beats another without exception.
        weak: for each entrant the number of its island: no vote links two islands.
    """

    strong: tuple[tuple[int, ...], ...]
    weak: Ints


class GoodnessOfFit(NamedTuple):
    """Whether one scale holds the votes: the deviance from one probability a pair."""

    deviance: float
    degrees_of_freedom: int
    p: float

    def divided(self, design_effect: float) -> "GoodnessOfFit":
        """The same test of votes that go together.

        Source: Rao and Scott's first-order correction, Ann. Stat. 12 (1984).
        """
        return _tested(self.deviance / design_effect, self.degrees_of_freedom)


def _tested(deviance: float, degrees: int) -> GoodnessOfFit:
    return GoodnessOfFit(
        deviance, degrees, float(chi2.sf(deviance, degrees)) if degrees else float("nan")
    )


@dataclass(frozen=True)
class Fit:
    """Scores on one scale, in units of which one is a preference of 75:25.

    Attributes:
        counts: what was fitted, (N, N), pseudo-votes included.
        scores: (N,), with sum zero on every island.
        information: of all votes, (N, N): minus the second derivative of the log likelihood.
        covariance: its inverse under the sums of zero: as if all votes were independent.
        components: what the votes connect.
        regularised: for each entrant whether its island has no finite maximum, so that half a
            pseudo-vote each way on each compared pair made it finite, (N,).
    """

    counts: Floats
    scores: Floats
    information: Floats
    covariance: Floats
    components: Components
    regularised: Bools

    @property
    def connected(self) -> bool:
        """Whether all entrants are on one island."""
        return bool((self.components.weak == 0).all())


def connect(counts: Floats) -> Components:
    """How the votes connect the entrants.

    A unique finite maximum exists if and only if there is one strong component.
    Source: Ford, Am. Math. Monthly 64 (1957).
    """
    wins = counts > 0
    _, weak = connected_components(wins, connection="weak")
    number, strong = connected_components(wins, connection="strong")
    groups = [tuple(np.flatnonzero(strong == place).tolist()) for place in range(number)]

    def below(group: tuple[int, ...]) -> int:
        """How many entrants can be reached by wins: a better component reaches more."""
        reached, size = set(group), 0
        while len(reached) > size:
            size = len(reached)
            reached |= set(np.flatnonzero(wins[sorted(reached)].any(axis=0)).tolist())
        return size

    order = sorted(groups, key=lambda group: (weak[group[0]], -below(group), group))
    return Components(tuple(order), weak.astype(np.intp))


def fit_scores(counts: Floats) -> Fit:
    """Maximum-likelihood scores of a table of votes, island by island.

    Args:
        counts: how often row was preferred to column, (N, N), at least 0, zero on the diagonal.
    Returns: scores that sum to zero on every island of compared entrants.
    Raises: ValueError if the counts are no such table.
    Source: Zhang et al., arXiv 2403.06406, Eq. (19), with the logarithm.
    """
    counts = _checked(counts)
    components, size = connect(counts), len(counts)
    used, scores = counts.copy(), np.zeros(size)
    regularised, covariance = np.zeros(size, bool), np.zeros((size, size))
    information = np.zeros((size, size))
    for island in range(components.weak.max() + 1):
        members = np.flatnonzero(components.weak == island)
        block = np.ix_(members, members)
        if sum(group[0] in members for group in components.strong) > 1:
            used[block] += PSEUDO_VOTES * ((counts + counts.T)[block] > 0)
            regularised[members] = True
        scores[members] = fit_many(used[block][None])[0]
        information[block] = _information(scores[members], used[block])
        covariance[block] = np.linalg.pinv(information[block], hermitian=True)
    return Fit(used, scores, information, covariance, components, regularised)


def _checked(counts: Floats) -> Floats:
    counts = np.asarray(counts, dtype=np.float64)
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] >= 1
    if not square or not np.isfinite(counts).all() or (counts < 0).any() or counts.trace():
        raise ValueError(
            f"counts of shape {counts.shape} are no table of votes: give a square one with finite "
            "numbers of at least 0, and 0 on the diagonal"
        )
    return counts


def fit_many(counts: Floats) -> Floats:
    """Scores of many tables at once, each with a finite maximum, by Newton's method.

    Args:
        counts: (B, N, N), each strongly connected: see `has_finite_scores`.
    Returns: scores, (B, N), each with sum zero.
    Raises: RuntimeError if one does not converge, which means that it is not connected.
    """
    size = counts.shape[-1]
    scores = np.zeros(counts.shape[:2])
    value = log_likelihood(scores, counts)
    for _ in range(STEPS):
        gradient, information = _gradient(scores, counts), _information(scores, counts)
        step = np.linalg.solve(information + 1 / size, gradient[..., None])[..., 0]
        if np.abs(step).max(initial=0) < TOLERANCE:
            return scores - scores.mean(axis=-1, keepdims=True)
        length = np.ones(len(scores))
        for _ in range(HALVINGS):
            candidate = scores + length[:, None] * step
            reached = log_likelihood(candidate, counts)
            worse = reached < value - 1e-12 * np.abs(value)
            if not worse.any():
                break
            length[worse] /= 2
        scores, value = candidate, reached
    raise RuntimeError("scores did not converge: some entrant wins or loses nearly all its votes")


def has_finite_scores(counts: Floats) -> Bools:
    """For each table of (B, N, N) whether its maximum is finite: whether wins lead everywhere."""
    size = counts.shape[-1]
    reached = (counts > 0) | np.eye(size, dtype=bool)
    for _ in range(max(1, int(np.ceil(np.log2(size))))):
        reached = np.matmul(reached.astype(np.float32), reached.astype(np.float32)) > 0
    return np.asarray(reached.all(axis=(-1, -2)))


def log_likelihood(scores: Floats, counts: Floats) -> Floats:
    """Sum of C_ij log P(i over j), for scores (..., N) and counts (..., N, N)."""
    return (counts * log_ndtr(_distances(scores))).sum(axis=(-1, -2))


def _distances(scores: Floats) -> Floats:
    return (scores[..., :, None] - scores[..., None, :]) / SCALE


def hazard(distance: Floats) -> Floats:
    """phi / Phi: the derivative of log Phi, also far out in the tail."""
    return np.exp(norm.logpdf(distance) - log_ndtr(distance))


def _gradient(scores: Floats, counts: Floats) -> Floats:
    pull = counts * hazard(_distances(scores)) / SCALE
    return pull.sum(axis=-1) - pull.sum(axis=-2)


def _information(scores: Floats, counts: Floats) -> Floats:
    """The observed one: its expectation differs from it in the third digit."""
    distance = _distances(scores)
    h = hazard(distance)
    weight = counts * h * (h + distance) / SCALE**2
    weight = weight + np.swapaxes(weight, -1, -2)
    diagonal = weight.sum(axis=-1)[..., None] * np.eye(weight.shape[-1])
    return diagonal - weight


def preference(difference: Floats | float) -> Floats:
    """P(i over j) for a difference of scores."""
    return norm.cdf(np.asarray(difference) / SCALE)


def difference_of(share: Floats | float) -> Floats:
    """The difference of scores that a share of votes means; infinite at 0 and 1."""
    return SCALE * norm.ppf(np.asarray(share))


def unanimous_bound(votes: int, level: float = 0.05) -> float:
    """The least difference that `votes` of `votes` votes leave possible, one-sided.

    Source: Clopper-Pearson: the share is at least level^(1/votes).
    """
    return float(difference_of(level ** (1 / votes)))


def goodness_of_fit(counts: Floats, fit: Fit) -> GoodnessOfFit:
    """Deviance of the fit from a probability of its own for each pair of entrants.

    Args:
        counts: the votes, (N, N), without pseudo-votes.
    Returns: with a low p, one scale does not hold the votes; NaN if no degree of freedom is left.
    """
    both = counts + counts.T
    shares = np.divide(counts, both, out=np.zeros_like(counts), where=counts > 0)
    saturated = (counts * np.log(shares, out=np.zeros_like(shares), where=counts > 0)).sum()
    deviance = max(0.0, 2 * float(saturated - log_likelihood(fit.scores, counts)))
    islands = int(fit.components.weak.max()) + 1
    degrees = int((np.triu(both) > 0).sum()) - (len(counts) - islands)
    return _tested(deviance, degrees)
