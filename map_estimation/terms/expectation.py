"""Closeness to what the model expects: the diffusion model's own prior p(x | input), as a term."""

from torch import Tensor

from .term import Ingredients, Term

# RGB in [0, 1]: how sure of its estimate the model is taken to be. At weight 1 this lets a picture
# that it restores count as better, and leaves the quality model the small changes (measured).
DEVIATION = 0.01


def expectation_term(given: Ingredients) -> Term | None:
    """Minus the logarithm of a normal density about the model's estimate; None without a weight.

    Of the density that a model conditioned on the input gives to pictures only the middle is known:
    its estimate of the clean picture, see edict/estimate.py. MAP estimation names that prior, and
    Eq. (17) leaves it out.
    """
    weight, expected = given.settings.expectation, given.expected
    if not weight:
        return None
    if expected is None:
        raise ValueError("nothing is expected of pixels: expectation needs the diffusion space")

    def value(picture: Tensor, reference: Tensor, noise: Tensor | None) -> Tensor:  # noqa: ARG001
        return half_mean_square(picture, expected())

    return Term("expectation", weight, value)


def half_mean_square(picture: Tensor, expected: Tensor) -> Tensor:
    """- log p of pictures (B, 3, H, W) about the expected one, a value, without its constant: (B,).

    Relative to the number of values n, as noise typicality is: |x - expected|^2 / (2 n s^2).
    """
    return ((picture - expected.to(picture)) / DEVIATION).square().flatten(1).mean(1) / 2
