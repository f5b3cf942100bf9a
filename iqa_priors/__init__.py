"""q(x): no-reference image quality models as priors."""

from .catalog import PRIORS
from .loading import load_prior, missing_files, missing_message
from .logistic import Logistic
from .prior import CombinedPrior, Prior, QualityPrior, Scorer
from .prior_row import PriorRow
from .score_report import ScoreReport, score_pictures

__all__ = [
    "PRIORS",
    "CombinedPrior",
    "Logistic",
    "Prior",
    "PriorRow",
    "QualityPrior",
    "ScoreReport",
    "Scorer",
    "load_prior",
    "missing_files",
    "missing_message",
    "score_pictures",
]
