"""Scores of each picture for itself, where all pairs were compared on it, and paired t-tests."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import ttest_rel

from .ballots import Ballots, Floats
from .thurstone import has_finite_scores

STEPS, TOLERANCE = 100, 1e-11


class PairedTest(NamedTuple):
    """A paired t-test of two entrants over pictures, the one of higher mean first."""

    first: int
    second: int
    statistic: float
    p: float


@dataclass(frozen=True)
class PerPicture:
    """Bradley-Terry scores in logits.

    Attributes:
        scores: (pictures, N), each with sum zero.
        tests: of all pairs of entrants.
    """

    scores: Floats
    tests: tuple[PairedTest, ...]


def score_pictures(counts: Floats) -> PerPicture | None:
    """Fit every picture for itself, and compare entrants over pictures.

    Args:
        counts: (pictures, N, N).
    Returns: None if there are fewer than two pictures, or one has no finite maximum: gradient
        descent would stop somewhere and hide it.
    Source: Ding et al., Int. J. Comput. Vis. 129 (2021), section 6.1 and Eq. (12).
    """
    if len(counts) < 2 or not has_finite_scores(counts).all():
        return None
    scores = _bradley_terry(counts)
    order = np.argsort(-scores.mean(axis=0), kind="stable")
    tests = []
    for place, first in enumerate(order):
        for second in order[place + 1 :]:
            statistic, p = ttest_rel(scores[:, first], scores[:, second])
            tests.append(PairedTest(int(first), int(second), float(statistic), float(p)))
    return PerPicture(scores, tuple(tests))


def picture_counts(ballots: Ballots) -> Floats:
    """How often row was preferred to column, picture by picture, (pictures, N, N)."""
    size, number = len(ballots.entrants), len(ballots.pictures)
    cells = (ballots.picture * size + ballots.winner) * size + ballots.loser
    flat = np.bincount(cells, minlength=number * size * size)
    return flat.reshape(number, size, size).astype(np.float64)


def _bradley_terry(counts: Floats) -> Floats:
    """Newton's method for all pictures at once; p(i over j) = 1 / (1 + exp(mu_j - mu_i))."""
    size, votes = counts.shape[-1], counts + np.swapaxes(counts, -1, -2)
    scores = np.zeros(counts.shape[:2])
    for _ in range(STEPS):
        chance = expit(scores[:, :, None] - scores[:, None, :])
        gradient = (counts - votes * chance).sum(axis=-1)
        weight = votes * chance * (1 - chance)
        information = weight.sum(axis=-1)[..., None] * np.eye(size) - weight + 1 / size
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        # The logistic likelihood is concave with a bounded third derivative: short steps are safe.
        scores = scores + step / np.maximum(1, np.abs(step).max(axis=-1, keepdims=True))
        if np.abs(step).max() < TOLERANCE:
            return scores - scores.mean(axis=-1, keepdims=True)
    raise RuntimeError("the scores of a picture did not converge: an entrant has nearly all votes")
