"""Most apparent distortion."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..files.constants import carried
from .choices import Planes
from .planes import magnitude, on_planes, safe_root

BLOCK, STEP = 16, 4
LIGHTNESS_SCALE, LIGHTNESS_POWER = 0.02874, 2.2 / 3
DARKEST = 0.25  # grey levels; below it the power is continued along its tangent
SAMPLING = 64.0  # pixels per degree: the picture's highest frequency is 32 cycles per degree
LOWEST_LIGHTNESS, LOWEST_CONTRAST = 0.5, -5.0
DETECTION_SCALE = 200.0
SCALE_WEIGHTS = (0.5, 0.75, 1.0, 5.0, 6.0)  # finest first
ORIENTATIONS = 4
WAVELENGTH, OCTAVE, BANDWIDTH = 3.0, 3.0, 0.55
ANGULAR_SIGMA = math.pi / ORIENTATIONS / 1.5
BLEND_SCALE = math.exp(-2.55 / 3.35)
BLEND_POWER = 1 / (math.log(10) * 3.35)
SOFTENING = 1e-2  # grey levels: makes the powers of the two parts differentiable at zero
FLATTEST = 1e-2  # grey levels: spread below which a block has no shape


def mad_distance(x: Tensor, x_init: Tensor, planes: Planes = "rgb") -> Tensor:
    """Most apparent distortion: visible error where it is small, changed texture where it is large.

    From the paper, which code in circulation leaves in these points, so that values differ: the
    weights of `SCALE_WEIGHTS` belong to the scales (there to the orientations), the contrast of
    the reference is the least of a block's four quarters, and the filters are centred on frequency
    zero. The powers are softened below 0.01 so that the gradient exists at equality. A change that
    the detection stage does not see, such as one of brightness, costs next to nothing.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
        planes: "rgb" for the mean of the channels, "luma" as in the paper.
    Returns: shape (B,); 0 when equal, a few hundred at most.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Larson and Chandler, Journal of Electronic Imaging 19(1), 2010.
    """
    return on_planes(_distance, x, x_init, planes)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    detection, appearance = detected_error(x, y), changed_appearance(x, y)
    share = 1 / (1 + BLEND_SCALE * (detection + SOFTENING) ** BLEND_POWER)
    logarithm = share * torch.log1p(detection / SOFTENING)
    logarithm = logarithm + (1 - share) * torch.log1p(appearance / SOFTENING)
    return SOFTENING * torch.expm1(logarithm)


def detected_error(x: Tensor, y: Tensor) -> Tensor:
    """Error weighted by how far its contrast exceeds the reference's, (N, 1, H, W) -> (N,)."""
    lightness_x, lightness_y = _perceived(x), _perceived(y)
    mean = F.avg_pool2d(lightness_y, BLOCK, STEP)
    error = _log_contrast(_spread(lightness_x - lightness_y, BLOCK), mean)
    masking = _log_contrast(_least_quarter(lightness_y), mean).clamp(min=LOWEST_CONTRAST)
    visible = torch.where(mean > LOWEST_LIGHTNESS, error - masking, 0).relu()
    squared_error = F.avg_pool2d((x - y).square(), BLOCK, STEP)
    return DETECTION_SCALE * _root_mean_square(visible * squared_error)


def changed_appearance(x: Tensor, y: Tensor) -> Tensor:
    """Change of the local statistics of log-Gabor responses, (N, 1, H, W) -> (N,)."""
    spectrum_x, spectrum_y = torch.fft.fft2(x), torch.fft.fft2(y)
    total = torch.zeros_like(F.avg_pool2d(x, BLOCK, STEP))
    for scale, weight in enumerate(SCALE_WEIGHTS):
        for orientation in range(ORIENTATIONS):
            band = _log_gabor(*x.shape[-2:], scale, orientation).to(x)
            # Recomputed in the backward pass instead of kept for all 20 filters.
            change = checkpoint(
                _changed_statistics, spectrum_x * band, spectrum_y * band, use_reentrant=False
            )
            total = total + weight / sum(SCALE_WEIGHTS) * change
    return _root_mean_square(total)


def _changed_statistics(spectrum_x: Tensor, spectrum_y: Tensor) -> Tensor:
    a, b = _statistics(spectrum_x), _statistics(spectrum_y)
    return (a[0] - b[0]).abs() + 2 * (a[1] - b[1]).abs() + (a[2] - b[2]).abs()


def _statistics(spectrum: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Spread, skewness and excess kurtosis of the response's modulus in each block."""
    response = torch.fft.ifft2(spectrum)
    second, third, fourth = _central_moments(magnitude(response.real, response.imag), BLOCK)
    spread = safe_root(second)
    scale = spread + FLATTEST
    return spread, third / scale**3, fourth / scale**4 - 3


def _central_moments(plane: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Second to fourth central moment of every block, blocks four pixels apart.

    Moments of cells of 4 x 4 pixels, each about its own mean, are combined: a block's pixels are
    not copied, and no small difference of large numbers is taken.
    """
    cells = plane.unfold(-2, STEP, STEP).unfold(-2, STEP, STEP).flatten(-2)
    means = cells.mean(-1)
    centred = cells - means[..., None]
    squares = centred * centred
    inner = (squares.mean(-1), (squares * centred).mean(-1), (squares * squares).mean(-1))
    number = block // STEP
    m1, m2, m3, m4 = (
        moment.unfold(-2, number, 1).unfold(-2, number, 1).flatten(-2) for moment in (means, *inner)
    )
    shift = m1 - m1.mean(-1, keepdim=True)
    square = shift * shift
    return (
        (m2 + square).mean(-1),
        (m3 + 3 * shift * m2 + shift * square).mean(-1),
        (m4 + 4 * shift * m3 + 6 * square * m2 + square * square).mean(-1),
    )


def _perceived(plane: Tensor) -> Tensor:
    """Grey levels to lightness, filtered by the eye's contrast sensitivity."""
    bright = plane > DARKEST
    power = torch.where(bright, plane, DARKEST) ** LIGHTNESS_POWER
    slope = LIGHTNESS_POWER * DARKEST ** (LIGHTNESS_POWER - 1)
    lightness = LIGHTNESS_SCALE * (power + torch.where(bright, 0, slope * (plane - DARKEST)))
    sensitivity = carried(_contrast_sensitivity(*plane.shape[-2:]), plane)
    return torch.fft.ifft2(torch.fft.fft2(lightness) * sensitivity).real


def _spread(plane: Tensor, block: int) -> Tensor:
    return safe_root(_central_moments(plane, block)[0])


def _least_quarter(plane: Tensor) -> Tensor:
    quarters, offset = _spread(plane, BLOCK // 2), BLOCK // 2 // STEP
    height, width = (side - offset for side in quarters.shape[-2:])
    corners = [(0, 0), (0, offset), (offset, 0), (offset, offset)]
    return torch.stack([quarters[..., i : i + height, j : j + width] for i, j in corners]).amin(0)


def _log_contrast(spread: Tensor, mean: Tensor) -> Tensor:
    return ((spread + 1e-6) / mean.abs().clamp(min=1e-6)).log()


def _root_mean_square(values: Tensor) -> Tensor:
    return safe_root(values.flatten(1).square().mean(1))


def _frequencies(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Radius in cycles per pixel and angle, (H, W), float64; the radius of DC is 1."""
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.fftfreq(width, dtype=torch.float64)[None, :]
    radius = (fx * fx + fy * fy).sqrt()
    radius[0, 0] = 1
    return radius, torch.atan2(-fy, fx.expand(height, width))


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # later callers may want a gradient
def _contrast_sensitivity(height: int, width: int) -> Tensor:
    radius, angle = _frequencies(height, width)
    oblique = 0.15 * (4 * angle).cos() + 0.85
    frequency = SAMPLING * radius / oblique
    sensitivity = 2.6 * (0.0192 + 0.114 * frequency) * torch.exp(-((0.114 * frequency) ** 1.1))
    sensitivity[frequency < 7.8909] = 0.9809
    sensitivity[0, 0] = 0.9809
    return sensitivity


@lru_cache(maxsize=80)
@torch.inference_mode(False)  # later callers may want a gradient
def _log_gabor(height: int, width: int, scale: int, orientation: int) -> Tensor:
    radius, angle = _frequencies(height, width)
    logarithm = (radius * WAVELENGTH * OCTAVE**scale).log()
    radial = torch.exp(-logarithm.square() / (2 * math.log(BANDWIDTH) ** 2))
    radial[0, 0] = 0
    turn = angle - orientation * math.pi / ORIENTATIONS
    turn = torch.atan2(turn.sin(), turn.cos())
    return radial * torch.exp(-turn.square() / (2 * ANGULAR_SIGMA**2))
