"""How typical the noise is: the diffusion model's own prior, - log p(x_T) of a standard normal."""

from torch import Tensor

from .term import Ingredients, Term


def typicality_term(given: Ingredients) -> Term | None:
    """Half the mean square of x_T; None where the settings give it no weight."""
    weight = given.settings.typicality
    return Term("typicality", weight, _value, sees_noise=True) if weight else None


def _value(picture: Tensor, reference: Tensor, noise: Tensor | None) -> Tensor:  # noqa: ARG001
    if noise is None:
        raise ValueError("pixels have no noise: noise typicality needs the diffusion space")
    return half_mean_square(noise).to(picture.dtype)


def half_mean_square(noise: Tensor) -> Tensor:
    """- log p of noise (B, C, h, w) under a standard normal, a value, without its constant: (B,).

    Relative to the noise's own number of values n, |x_T|^2 / (2 n): 1/2 for |x_T| = sqrt(n). A
    picture with noise in it is an atypical sample: its x_T is longer.
    """
    return noise.square().flatten(1).mean(1) / 2
