"""Statistics of natural scenes: normalised coefficients and the distributions fitted to them.

Source: Mittal, Moorthy, Bovik, "No-reference image quality assessment in the spatial domain",
IEEE Transactions on Image Processing 21(12), 2012, doi:10.1109/TIP.2012.2214050. The shape of the
asymmetric generalised Gaussian is estimated by moments: Lasmar, Stitou, Berthoumieu, "Multiscale
skewed heavy tailed model for texture analysis", ICIP 2009, doi:10.1109/ICIP.2009.5414404.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.devices import in_float64

# In exact arithmetic an even area has coefficients of 0, counted on neither side of the
# distribution; in float64 they are some 1e-13 of either sign, and would be counted.
ZERO_COEFFICIENT = 1e-7


def luma(image: Tensor, metric: str) -> Tensor:
    """Luma on 0..255 as MATLAB's rgb2gray has it (BT.601, full swing).

    Args:
        image: RGB in [0, 1], shape (B, 3, H, W), any floating dtype.
        metric: who asks, for the messages.
    Returns: shape (B, 1, H, W), float64.
    Raises: ValueError if the image is not finite RGB.
    """
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        given = f"{metric} was given shape {tuple(image.shape)} of {image.dtype}"
        raise ValueError(f"{given}: pass RGB in [0, 1], shape (B, 3, H, W), floating dtype")
    if not image.isfinite().all():
        raise ValueError(
            f"{metric} was given an image with NaN or inf: look at the step that made it"
        )
    red, green, blue = (255 * in_float64(image)).split(1, dim=1)
    return 0.2989360212937756 * red + 0.5870430744511212 * green + 0.1140209042551033 * blue


def normalised_coefficients(y: Tensor) -> Tensor:
    """Mean-subtracted, contrast-normalised coefficients, Eq. (1) to (3), of luma (B, 1, H, W)."""
    t = torch.arange(-3, 4, dtype=y.dtype, device=y.device)
    g = torch.exp(-(t**2) / (2 * (7 / 6) ** 2))
    g = g / g.sum()

    def smooth(z: Tensor) -> Tensor:
        z = F.pad(z, (3, 3, 3, 3), mode="replicate")
        return F.conv2d(F.conv2d(z, g.view(1, 1, 1, 7)), g.view(1, 1, 7, 1))

    mu = smooth(y)
    sigma = (smooth(y**2) - mu**2).clamp_min(1e-8).sqrt()  # the root has no derivative at 0
    coefficients = (y - mu) / (sigma + 1)
    return torch.where(coefficients.abs() > ZERO_COEFFICIENT, coefficients, 0.0)


def fit_asymmetric_gaussian(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fit an asymmetric generalised Gaussian to the last axis of x by its moments.

    Returns: the shape alpha, the left and right standard deviations, and True where both sides have
        samples; what is fitted to the others means nothing and has no gradient.
    Source: Lasmar et al. 2009, doi:10.1109/ICIP.2009.5414404.
    """
    left, right = x < 0, x > 0
    valid = left.any(-1) & right.any(-1)

    def mean(z: Tensor, count: Tensor | int) -> Tensor:
        return torch.where(valid, z.sum(-1) / count, 1.0)

    sigma_left = mean(x**2 * left, left.sum(-1).clamp_min(1)).sqrt()
    sigma_right = mean(x**2 * right, right.sum(-1).clamp_min(1)).sqrt()
    gamma = sigma_left / sigma_right
    r = mean(x.abs(), x.shape[-1]) ** 2 / mean(x**2, x.shape[-1])
    rho = r * (gamma**3 + 1) * (gamma + 1) / (gamma**2 + 1) ** 2
    return solve_shape(rho), sigma_left, sigma_right, valid


def spread(alpha: Tensor) -> Tensor:
    """Width beta of a generalised Gaussian of shape alpha and standard deviation 1."""
    return ((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2).exp()


def asymmetric_mean(alpha: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Mean eta of an asymmetric generalised Gaussian of shape alpha and widths left and right."""
    return (right - left) * (torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha)).exp()


def moment_ratio(alpha: Tensor) -> Tensor:
    """rho(alpha) = Gamma(2/alpha)^2 / (Gamma(1/alpha) Gamma(3/alpha)), rising from 0 to 3/4."""
    return (2 * torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)).exp()


def solve_shape(rho: Tensor) -> Tensor:
    """The alpha in [0.2, 10] with moment_ratio(alpha) = rho, with its derivative 1 / rho'(alpha).

    A table gives alpha to 0.001, Newton steps refine it, and the last one, linear in rho with a
    slope held constant, carries the gradient (implicit function theorem).
    """
    table = torch.linspace(0.2, 10, 9801, dtype=rho.dtype, device=rho.device)
    ratios = moment_ratio(table)
    rho = rho.clamp(ratios[0], ratios[-1])
    alpha = table[torch.searchsorted(ratios, rho.detach().contiguous())]
    for last in (False, False, True):
        p = 1 / alpha
        digammas = 4 * torch.digamma(2 * p) - torch.digamma(p) - 3 * torch.digamma(3 * p)
        ratio = moment_ratio(alpha)
        slope = -ratio * digammas * p**2
        alpha = alpha + ((rho if last else rho.detach()) - ratio) / slope
    return alpha
