"""Visual saliency induced index."""

from functools import lru_cache

import torch
from torch import Tensor

from ..files.constants import carried, constant
from .fsim import scharr_magnitude, weighted_mean
from .planes import check_pair, log_similarity, mix_channels, safe_root, shrink_to_256, similarity

LMN = ((0.06, 0.63, 0.27), (0.30, 0.04, -0.35), (0.34, -0.60, 0.17))
C_SALIENCY, C_GRADIENT, C_CHROMA = 1.27, 386.0, 130.0  # grey levels 0 to 255
GRADIENT_POWER, CHROMA_POWER = 0.40, 0.02
FREQUENCY, BANDWIDTH, CENTRE_SIGMA, COLOUR_SIGMA = 0.021, 1.34, 145.0, 0.001
XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.950456, 1.0, 1.088754)
LAB_EDGE = 6 / 29


def vsi_distance(x: Tensor, x_init: Tensor) -> Tensor:
    """1 - VSI: visual saliency, gradient magnitude and chroma, weighted by saliency.

    Saliency's scaling to [0, 1] depends on its smallest and largest value alone, which are
    constants to the gradient: one pixel would receive it all. A negative chroma similarity keeps
    falling, as in `fsim_distance`.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
    Returns: shape (B,); 0 when equal, at most 1.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Zhang, Shen and Li, IEEE TIP 23(10), 2014; saliency: Zhang, Gu and Li, ICIP 2013.
    """
    check_pair(x, x_init)
    saliencies = [shrink_to_256(saliency(image)) for image in (x, x_init)]
    x, x_init = (shrink_to_256(mix_channels(255 * image, LMN)) for image in (x, x_init))
    gradients = [scharr_magnitude(image[:, :1]) for image in (x, x_init)]
    chroma = similarity(x[:, 1:], x_init[:, 1:], C_CHROMA)
    weight = torch.maximum(*saliencies)
    score = (
        similarity(saliencies[0], saliencies[1], C_SALIENCY)
        * similarity(gradients[0], gradients[1], C_GRADIENT) ** GRADIENT_POWER
        * torch.exp(CHROMA_POWER * log_similarity(chroma[:, :1] * chroma[:, 1:]))
        * weight
    )
    return 1 - weighted_mean(score, weight)


def saliency(x: Tensor) -> Tensor:
    """Saliency by three priors (SDSP): band-passed colour, distance to the centre, warm colour.

    Args:
        x: RGB in [0, 1], shape (B, 3, H, W).
    Returns: shape (B, 1, H, W), scaled to [0, 1].
    """
    lab = rgb_to_lab(x)
    band_pass, centre = (carried(tensor, x) for tensor in _priors(*x.shape[-2:]))
    filtered = torch.fft.ifft2(torch.fft.fft2(lab) * band_pass).real
    structure = safe_root(filtered.square().sum(1, keepdim=True))
    warmth = _to_unit_range(lab[:, 1:]).square().sum(1, keepdim=True)
    return _to_unit_range(structure * centre * -torch.expm1(-warmth / COLOUR_SIGMA**2))


def rgb_to_lab(x: Tensor) -> Tensor:
    """sRGB in [0, 1] to CIE L*a*b*, (B, 3, H, W); defined and smooth outside [0, 1] too."""
    curved = x > 0.04045
    linear = torch.where(curved, ((torch.where(curved, x, 1) + 0.055) / 1.055) ** 2.4, x / 12.92)
    xyz = mix_channels(linear, XYZ) / constant(WHITE, x)[:, None, None]
    curved = xyz > LAB_EDGE**3
    roots = torch.where(curved, torch.where(curved, xyz, 1) ** (1 / 3), 0)
    f = torch.where(curved, roots, xyz / (3 * LAB_EDGE**2) + 4 / 29)
    return torch.stack(
        (116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])), dim=1
    )


def _to_unit_range(planes: Tensor) -> Tensor:
    low = planes.detach().amin((-2, -1), keepdim=True)
    spread = planes.detach().amax((-2, -1), keepdim=True) - low
    return torch.where(spread > 0, (planes - low) / torch.where(spread > 0, spread, 1), 0)


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # later callers may want a gradient
def _priors(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The log-Gabor band pass and the weight of the distance to the centre, float64."""
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.fftfreq(width, dtype=torch.float64)[None, :]
    radius = (fy.square() + fx.square()).sqrt()
    outside = radius >= 0.5
    radius[0, 0] = 1
    band_pass = torch.exp(-(radius / FREQUENCY).log().square() / (2 * BANDWIDTH**2))
    band_pass[outside] = 0
    band_pass[0, 0] = 0
    y = torch.arange(height, dtype=torch.float64)[:, None] - height / 2
    x = torch.arange(width, dtype=torch.float64)[None, :] - width / 2
    return band_pass, torch.exp(-(y.square() + x.square()) / CENTRE_SIGMA**2)
