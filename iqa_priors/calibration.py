"""Fitting the logistic of Eq. (21) to a metric's scores, with or without opinion scores."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..files.reading import reading
from ..files.written import write_atomically
from .correlation import plcc, srcc

FEWEST = 5  # scores: two constants, and something left to judge them by
# Width of the logistic whose standard deviation is 1.
LOGISTIC_WIDTH = math.sqrt(3) / math.pi
SOFT = 0.1  # of the opinions' scale: residuals beyond it count less than their square


@dataclass(frozen=True)
class Calibration:
    """Constants of Eq. (21) for a metric, and how well they fit.

    Attributes:
        prior: the metric's name.
        xi3, xi4: score that becomes 0.5 and width, in the metric's units; xi4 > 0.
        lower_better: whether low scores mean good pictures.
        n: number of scores.
        plcc: Pearson correlation of the calibrated scores with the opinions; None without opinions.
        srcc: Spearman correlation of quality with the opinions, so positive; None likewise.
        rmse: root mean square error on the opinions' scale of 0 to 1; None likewise.
        source: where the scores come from; None where unknown.
    """

    prior: str
    xi3: float
    xi4: float
    lower_better: bool
    n: int
    plcc: float | None = None
    srcc: float | None = None
    rmse: float | None = None
    source: str | None = None


def calibrate_to_opinions(
    prior: str,
    scores: Sequence[float],
    opinions: Sequence[float],
    lower_better: bool,
    limits: tuple[float, float] | None = None,
    source: str | None = None,
) -> Calibration:
    """Fit xi3 and xi4 by robust least squares, so that calibrated scores meet opinions.

    Args:
        prior: the metric's name.
        scores: raw scores.
        opinions: mean opinion scores, one per score, higher is better.
        lower_better: the metric's direction.
        limits: (worst, best) end of the opinions' scale; (100, 0), say, for difference scores
            (DMOS), which fall with quality. Default: the least and the largest opinion.
        source: kept in the result.
    Raises: ValueError for too few, non-finite or constant values, opinions outside the limits, or
        scores that fall where the metric's direction says they rise.
    Source: Zhang et al., arXiv 2403.06406, Eq. (21) with xi1 = 1, xi2 = 0; VQEG's practice of
        fitting a logistic. Soft-L1 loss: scipy.optimize.least_squares.
    """
    from scipy.optimize import least_squares

    x, y = _checked(scores, "scores"), _checked(opinions, "opinions")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} scores and {len(y)} opinions: give one opinion per score")
    y = _normalised(y, limits)
    better = -1.0 if lower_better else 1.0
    ranks = srcc(better * x, y)
    if ranks <= 0:
        direction = "lower is better" if lower_better else "higher is better"
        raise ValueError(
            f"the scores do not follow the opinions (SRCC {ranks:.3f} where {prior!r} says "
            f"{direction}): check the columns; for difference scores (DMOS) turn the scale round"
        )

    def residuals(constants: np.ndarray) -> np.ndarray:
        return _logistic(better * (x - constants[0]) / np.exp(constants[1])) - y

    start = (np.median(x), math.log(x.std() * LOGISTIC_WIDTH))
    # The scale lets both constants move by about their own size, whatever the metric's units.
    fitted = least_squares(residuals, start, loss="soft_l1", f_scale=SOFT, x_scale=(x.std(), 1.0))
    xi3, xi4 = float(fitted.x[0]), float(np.exp(fitted.x[1]))
    if not fitted.success or not (math.isfinite(xi3) and 0 < xi4 < 1e3 * x.std()):
        raise ValueError(
            f"no logistic fits these scores of {prior!r} (xi3 {xi3:.4g}, xi4 {xi4:.4g}): they "
            "hardly follow the opinions; check the columns or give more scores"
        )
    errors = residuals(fitted.x)
    rmse = float(np.sqrt((errors**2).mean()))
    linear = plcc(errors + y, y)
    return Calibration(prior, xi3, xi4, lower_better, len(x), linear, ranks, rmse, source)


def calibrate_to_scores(
    prior: str, scores: Sequence[float], lower_better: bool, source: str | None = None
) -> Calibration:
    """Place the logistic by the scores of photographs alone: the median becomes 0.5.

    The width is that of a logistic distribution as wide as the scores, so that a calibrated score
    is about the share of those photographs that are worse.

    Args:
        prior, scores, lower_better, source: as for `calibrate_to_opinions`.
    Raises: ValueError for too few, non-finite or constant scores.
    """
    x = _checked(scores, "scores")
    xi4 = float(x.std(ddof=1)) * LOGISTIC_WIDTH
    return Calibration(prior, float(np.median(x)), xi4, lower_better, len(x), source=source)


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Write the JSON file that `load_prior` takes."""
    write_atomically(path, (json.dumps(asdict(calibration), indent=1) + "\n").encode())


def read_scores(path: Path) -> tuple[list[float], list[float]]:
    """Read the columns `score` and `mos` of a CSV file; others are passed over.

    Raises: ValueError naming the file and the line of what cannot be read.
    """
    remedy = "give a CSV file with the columns score and mos"
    with (
        reading(path, "table of scores", remedy),
        path.open(newline="", encoding="utf-8-sig") as file,
    ):
        reader = csv.DictReader(file)
        names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
        if not {"score", "mos"} <= names.keys():
            raise ValueError(f"{path} needs a first line that names the columns score and mos")
        rows = []
        for row in reader:
            try:
                rows.append((float(row[names["score"]]), float(row[names["mos"]])))
            except (TypeError, ValueError):
                raise ValueError(
                    f"{path}, line {reader.line_num}: score and mos must be numbers"
                ) from None
    return [score for score, _ in rows], [mos for _, mos in rows]


def _checked(values: Sequence[float], what: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if len(array) < FEWEST:
        raise ValueError(f"too few {what} to calibrate, {len(array)}: give at least {FEWEST}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite: {(~np.isfinite(array)).sum()} are not")
    if array.std() <= 1e-12 * max(1.0, abs(array.mean())):
        raise ValueError(f"all {what} are {array[0]:g}: give pictures of different quality")
    return array


def _normalised(opinions: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    worst, best = limits or (opinions.min(), opinions.max())
    if worst == best or not (math.isfinite(worst) and math.isfinite(best)):
        raise ValueError(f"the opinions' scale from {worst} to {best} has no two ends")
    low, high = min(worst, best), max(worst, best)
    if opinions.min() < low or opinions.max() > high:
        raise ValueError(
            f"opinions from {opinions.min():g} to {opinions.max():g} leave the scale from {low:g} "
            f"to {high:g}: give the ends of their scale, the worst one first"
        )
    return (opinions - worst) / (best - worst)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))  # no overflow
