"""q(x): no-reference image quality models as priors."""

from .catalog import PRIORS, PriorRow
from .loading import load_prior, missing_files
from .logistic import Logistic
from .prior import CombinedPrior, Prior, QualityPrior, Scorer

__all__ = [
    "PRIORS",
    "CombinedPrior",
    "Logistic",
    "Prior",
    "PriorRow",
    "QualityPrior",
    "Scorer",
    "load_prior",
    "missing_files",
]
