"""How well predicted qualities agree with opinions."""

from collections.abc import Sequence

import numpy as np


def plcc(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Pearson's linear correlation, in [-1, 1]; NaN where either side is constant."""
    x, y = (np.asarray(v, dtype=np.float64) for v in (first, second))
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else float("nan")


def srcc(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Spearman's rank correlation with mean ranks of ties; NaN where one is constant."""
    from scipy.stats import rankdata

    return plcc(rankdata(first), rankdata(second))
