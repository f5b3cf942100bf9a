"""Scores of each stratum of pictures: of those chosen for discrepancy, of those drawn at random."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .ballots import Ballots, Floats
from .covariance import Covariance, clustered
from .thurstone import Fit, fit_scores

Strata = Mapping[tuple[str, frozenset[str]], str]  # by picture and the two entrants
NEEDED = ("picture", "model_a", "model_b", "stratum")


@dataclass(frozen=True)
class Stratum:
    """One stratum's own scores, on the entrants of all votes.

    Attributes:
        name: as in pairs.csv.
        counts: (N, N).
        fit, covariance: of its votes alone.
    """

    name: str
    counts: Floats
    fit: Fit
    covariance: Covariance


def read_strata(path: Path) -> Strata:
    """The stratum of each row of pairs.csv; empty if the file is missing or tells none."""
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return {
        (row["picture"], frozenset((row["model_a"], row["model_b"]))): row["stratum"]
        for row in rows
        if all(row.get(column) for column in NEEDED)
    }


def score_strata(ballots: Ballots, strata: Strata) -> list[Stratum]:
    """Fit every stratum for itself; nothing if all votes are of one."""
    names = np.array([_stratum(ballots, vote, strata) for vote in range(len(ballots))])
    found = sorted(set(names) - {""})
    if len(found) < 2:
        return []
    return [_fitted(str(name), ballots.where(names == name)) for name in found]


def _stratum(ballots: Ballots, vote: int, strata: Strata) -> str:
    pair = (ballots.entrants[side[vote]] for side in (ballots.winner, ballots.loser))
    return strata.get((ballots.pictures[ballots.picture[vote]], frozenset(pair)), "")


def _fitted(name: str, ballots: Ballots) -> Stratum:
    counts = ballots.counts()
    fit = fit_scores(counts)
    return Stratum(name, counts, fit, clustered(ballots, fit))
