"""The logistic that brings every quality score to [0, 1], Eq. (21)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Logistic:
    """q = 1 / (1 + exp(-(score - xi3) / |xi4|)), its sign turned for lower-is-better scores.

    The paper prints the falling sign for all; it is right only where lower scores are better.

    Attributes:
        xi3: score that maps to 0.5, in the metric's units.
        xi4: width, in the metric's units; its sign does not matter, 0 is refused.
        lower_better: whether low scores mean good pictures.
        calibrated: False for provisional constants.
    Source: Zhang et al., arXiv 2403.06406, Eq. (21) with xi1 = 1 and xi2 = 0.
    """

    xi3: float
    xi4: float
    lower_better: bool = False
    calibrated: bool = True

    def __post_init__(self):
        if not (math.isfinite(self.xi3) and math.isfinite(self.xi4)) or self.xi4 == 0:
            raise ValueError(f"logistic needs finite xi3 and xi4 != 0, got {self.xi3}, {self.xi4}")

    def __call__(self, score: Tensor) -> Tensor:
        """Map raw scores (B,) to quality in [0, 1], higher is better; infinite scores give NaN."""
        rising = (score - self.xi3) / abs(self.xi4)
        quality = torch.sigmoid(-rising if self.lower_better else rising)
        # A broken metric must not pass for a perfect picture.
        return torch.where(score.isinf(), torch.nan, quality)
