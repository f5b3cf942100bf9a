"""Closeness to what the model expects: the diffusion model's own prior p(x | input), as a term."""

from torch import Tensor

from ...fidelity.low_resolution import low_resolution_distance
from .term import Ingredients, Term


def expectation_term(given: Ingredients) -> Term | None:
    """Root mean square distance from the model's estimate; None where it has no weight.

    Of the density that a model conditioned on the input gives to pictures only the middle is used:
    its estimate of the clean picture, see edict/estimate.py. MAP estimation names that prior, and
    Eq. (17) leaves it out.
    """
    weight, expected = given.settings.expectation, given.expected
    if not weight:
        return None
    if expected is None:
        raise ValueError("nothing is expected of pixels: expectation needs the diffusion space")

    def value(picture: Tensor, reference: Tensor, noise: Tensor | None) -> Tensor:  # noqa: ARG001
        return low_resolution_distance(
            picture, expected().to(picture).expand_as(picture), scale=1, reduction="rms"
        )

    return Term("expectation", weight, value)
