"""How many votes tell two entrants apart, to plan a study or to judge what one could have seen."""

import math

from scipy.stats import norm

POWER = 0.8


def votes_needed(share: float, level: float = 0.05, power: float = POWER) -> int:
    """Independent votes on one pair until a two-sided test of share 1/2 rejects with `power`.

    The normal approximation; an exact test needs up to a fifth more. Multiply by the design effect
    if votes about one picture, or by one observer, go together.

    Args:
        share: the true share of votes, not 1/2.
    """
    under_half = float(norm.ppf(1 - level / 2)) / 2
    under_share = float(norm.ppf(power)) * math.sqrt(share * (1 - share))
    return math.ceil(((under_half + under_share) / (share - 0.5)) ** 2)


def detectable(standard_error: float, quantile: float, power: float = POWER) -> float:
    """The difference of scores that a test at `quantile` standard errors sees with `power`."""
    return standard_error * (quantile + float(norm.ppf(power)))
