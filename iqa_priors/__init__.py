"""q(x): no-reference image quality models as priors."""

import torch

from .logistic import Logistic
from .prior import CombinedPrior, Prior, QualityPrior


def _pocket(device: str | torch.device) -> QualityPrior:
    from .pocket import SMALLEST, load_pocket, load_pocket_calibration

    logistic = Logistic(*load_pocket_calibration())
    return QualityPrior("pocket", load_pocket(device), logistic, SMALLEST)


def _niqe(device: str | torch.device) -> QualityPrior:
    from .niqe import MIN_SIDE, load_niqe

    # Typical photographs score 3 to 7: a provisional calibration, not fitted to opinions.
    logistic = Logistic(4.5, 0.8, lower_better=True, calibrated=False)
    return QualityPrior("niqe", load_niqe(device), logistic, MIN_SIDE)


PRIORS = {"pocket": _pocket, "niqe": _niqe}


def load_prior(name: str, device: str | torch.device = "cpu") -> QualityPrior:
    """Load a prior by name.

    Raises: ValueError for an unknown name or unusable weights.
    """
    if name not in PRIORS:
        raise ValueError(f"unknown prior {name!r}: choose from {', '.join(PRIORS)}")
    return PRIORS[name](device)


__all__ = ["PRIORS", "CombinedPrior", "Logistic", "Prior", "QualityPrior", "load_prior"]
