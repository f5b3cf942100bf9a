"""Two rankings of quality models: by correlation with opinions, and by the pictures they make."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, norm, rankdata, spearmanr

from ..files.reading import reading
from .shares import Interval
from .thurstone import DECIMALS

MOST_FOR_EXACT = 9  # entrants whose orders are all tried: 362,880 of them
FEWEST = 3


class Correlation(NamedTuple):
    """A model's SRCC with mean opinion scores, and on how many pictures; None if not told."""

    srcc: float
    pictures: int | None


class Row(NamedTuple):
    """One model: its SRCC with an interval if the number of pictures is known, and both ranks."""

    entrant: str
    srcc: float
    interval: Interval | None
    srcc_rank: int
    score: float
    map_rank: int

    @property
    def delta(self) -> int:
        """Places gained (positive) from the SRCC rank to the rank by pictures."""
        return self.srcc_rank - self.map_rank


@dataclass(frozen=True)
class RankAgreement:
    """Table I: both ranks of each model, and whether the two orders agree.

    Attributes:
        rows: in the order of the scores.
        spearman, kendall: between the two orders.
        p: two-sided, of Spearman's, over all orders if `exact`, else by the t approximation.
    """

    rows: tuple[Row, ...]
    spearman: float
    p: float
    exact: bool
    kendall: float


def agree(correlations: Mapping[str, Correlation], scores: Mapping[str, float]) -> RankAgreement:
    """Compare the models' order by SRCC with that by scores.

    Args:
        correlations: for at least three entrants; a lower-is-better model's SRCC negated.
        scores: finite; entrants without a correlation are left out.
    Raises: ValueError if fewer than three entrants have both.
    Source: Zhang et al., arXiv 2403.06406, Table I; interval: Bonett and Wright (2000).
    """
    names = sorted((n for n in scores if n in correlations), key=lambda n: -scores[n])
    if len(names) < FEWEST:
        raise ValueError(
            f"{len(names)} of the entrants {', '.join(scores)} have an SRCC: give it for three"
        )
    srcc = np.array([correlations[name].srcc for name in names])
    values = np.round([scores[name] for name in names], DECIMALS)
    ranks = competition_ranks(srcc), competition_ranks(values)
    rows = tuple(
        Row(
            name,
            correlations[name].srcc,
            srcc_interval(*correlations[name]),
            ranks[0][place],
            scores[name],
            ranks[1][place],
        )
        for place, name in enumerate(names)
    )
    rho, approximate_p = (float(number) for number in np.array(spearmanr(srcc, values)))
    exact = len(names) <= MOST_FOR_EXACT
    p = _exact_p(srcc, values) if exact else approximate_p
    tau = float(np.array(kendalltau(srcc, values))[0])
    return RankAgreement(rows, rho, p, exact, tau)


def competition_ranks(values: np.ndarray) -> list[int]:
    """1 for the highest; equal values share the better rank, and the next one is skipped."""
    return [int(rank) for rank in rankdata(-np.asarray(values), method="min")]


def _exact_p(first: np.ndarray, second: np.ndarray) -> float:
    """Share of all orders of `second` with a Spearman correlation at least as far from 0."""
    a, b = (rankdata(values) - (len(first) + 1) / 2 for values in (first, second))
    orders = np.array(list(permutations(range(len(a)))), dtype=np.int8)
    products = b[orders] @ a
    return float((np.abs(products) >= abs(float(a @ b)) - 1e-9).mean())


def srcc_interval(srcc: float, pictures: int | None, level: float = 0.05) -> Interval | None:
    """Interval of one SRCC on so many pictures; None if their number is not known.

    Source: Bonett and Wright, Psychometrika 65 (2000).
    """
    if pictures is None:
        return None
    error = math.sqrt((1 + srcc**2 / 2) / (pictures - 3)) * float(norm.ppf(1 - level / 2))
    middle = math.atanh(srcc)
    return Interval(math.tanh(middle - error), math.tanh(middle + error))


def read_correlations(path: Path) -> dict[str, Correlation]:
    """Read a CSV with the columns entrant, srcc and, if known, n: pictures behind the SRCC.

    Raises: ValueError naming the row that cannot be used.
    """
    with reading(path, "table of correlations", "give a CSV file"):
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    if not rows or not {"entrant", "srcc"} <= set(rows[0]):
        raise ValueError(f"{path} must have the columns entrant, srcc and, if known, n")
    found: dict[str, Correlation] = {}
    for line, row in enumerate(rows, 2):
        name = (row["entrant"] or "").strip()
        srcc, pictures = _number(row["srcc"]), _number(row.get("n"))
        whole = pictures is None or (pictures >= 4 and pictures == int(pictures))
        if not name or name in found or srcc is None or not -1 < srcc < 1 or not whole:
            raise ValueError(
                f"{path}, line {line}: give each entrant once, an SRCC between -1 and 1, and as n "
                "nothing or the number of pictures, at least 4"
            )
        found[name] = Correlation(srcc, None if pictures is None else int(pictures))
    return found


def _number(text: str | None) -> float | None:
    """A finite number; NaN if the text is none, None if it is empty."""
    if not text or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
