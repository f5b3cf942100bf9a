"""Quality by the no-reference model: - lambda q(x), Eq. (17)."""

import logging

from torch import Tensor

from ...iqa_priors.prior import Prior
from .term import Ingredients, Term

log = logging.getLogger(__name__)
FLAT = 0.1  # of the logistic's steepest slope


def quality_term(given: Ingredients) -> Term:
    """The prior's quality, in [0, 1], with the weight -lambda."""
    prior = given.prior

    def value(picture: Tensor, reference: Tensor, noise: Tensor | None) -> Tensor:  # noqa: ARG001
        return prior(picture).to(picture.dtype)

    return Term(
        "quality",
        -given.settings.lam,
        value,
        checked=prior.in_one_view(),
        remark=lambda q: warn_if_flat(prior, q),
    )


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
