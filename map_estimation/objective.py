"""The energy of a picture: fidelity to the input minus lambda times quality, Eq. (17)."""

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..fidelity.fidelity import Fidelity
from ..iqa_priors.prior import Prior

log = logging.getLogger(__name__)
FLAT = 0.1  # of the logistic's steepest slope


class Terms(NamedTuple):
    """The energy and its parts, each per item, shape (B,)."""

    energy: Tensor
    fidelity: Tensor
    quality: Tensor


@dataclass(frozen=True)
class Objective:
    """E(x) = D0(x, x_init) - lam q(x).

    Attributes:
        prior: q, in [0, 1].
        fidelity: D0; None leaves it out (lambda -> infinity in the paper's ablation).
        lam: weight of the prior, at least 0. The paper's is 0.01.
    Source: Zhang et al., arXiv 2403.06406, Eq. (17).
    """

    prior: Prior
    fidelity: Fidelity | None
    lam: float = 0.01

    def __post_init__(self):
        if not (math.isfinite(self.lam) and self.lam >= 0):
            raise ValueError(f"lambda {self.lam} must be 0 or more: it weighs the quality prior")

    def __call__(self, image: Tensor, reference: Tensor) -> Terms:
        """Terms for pictures (B, 3, H, W) in [0, 1] against their input of the same shape."""
        quality = self.prior(image).to(image.dtype)
        distance = (
            torch.zeros_like(quality) if self.fidelity is None else self.fidelity(image, reference)
        )
        return Terms(distance - self.lam * quality, distance, quality)


def warn_if_flat(prior: Prior, quality: float) -> None:
    """Log when a picture's quality is at an end of the logistic, where the prior hardly pulls.

    The slope of Eq. (21) is proportional to q (1 - q), at most 1/4.
    """
    slope = 4 * quality * (1 - quality)
    if slope < FLAT:
        log.warning(
            "the prior %s puts this picture at %.3f of 1, where its gradient is %.3f of the "
            "steepest: it will hardly change the picture; calibrate it (latent-map calibrate) or "
            "choose another prior",
            prior.name,
            quality,
            slope,
        )
