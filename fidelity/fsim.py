"""Feature similarity: phase congruency and gradient magnitude."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import carried, constant
from .planes import (
    check_pair,
    convolve,
    log_similarity,
    magnitude,
    mix_channels,
    shrink_to_256,
    similarity,
)

YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
T1, T2, T3 = 0.85, 160.0, 200.0  # phase congruency, gradient, chroma; grey levels 0 to 255
CHROMA_POWER = 0.03
SCALES, ORIENTATIONS = 4, 4
WAVELENGTH, OCTAVE, BANDWIDTH = 6.0, 2.0, 0.55
ANGULAR_SIGMA = math.pi / ORIENTATIONS / 1.2
NOISE_DEVIATIONS = 2.0
EPSILON = 1e-4
SCHARR = ((3 / 16, 0.0, -3 / 16), (10 / 16, 0.0, -10 / 16), (3 / 16, 0.0, -3 / 16))


def fsim_distance(x: Tensor, x_init: Tensor) -> Tensor:
    """1 - FSIMc: phase congruency, gradient magnitude and chroma, weighted by phase congruency.

    Two things differ from the published code, for the gradient's sake. The noise threshold,
    a global median, is a constant to the gradient: through it single coefficients received
    gradients of 28 times the true change. A negative chroma similarity keeps falling; in the
    published code its modulus counts, which prefers the opposite colour to grey.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
    Returns: shape (B,); 0 when equal, at most 1. Two flat pictures are at distance 0.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Zhang, Zhang, Mou and Zhang, IEEE TIP 20(8), 2011; Kovesi, Videre 1(3), 1999.
    """
    check_pair(x, x_init)
    x, x_init = (shrink_to_256(mix_channels(255 * image, YIQ)) for image in (x, x_init))
    congruency = [phase_congruency(image[:, 0]) for image in (x, x_init)]
    gradients = [scharr_magnitude(image[:, :1])[:, 0] for image in (x, x_init)]
    chroma = similarity(x[:, 1:], x_init[:, 1:], T3)
    weight = torch.maximum(*congruency)
    score = (
        similarity(congruency[0], congruency[1], T1)
        * similarity(gradients[0], gradients[1], T2)
        * torch.exp(CHROMA_POWER * log_similarity(chroma[:, 0] * chroma[:, 1]))
        * weight
    )
    return 1 - weighted_mean(score, weight)


def weighted_mean(score: Tensor, weight: Tensor) -> Tensor:
    """Sum of a weighted score over the sum of weights; 1 where all weights vanish."""
    tiny = EPSILON
    return (score.flatten(1).sum(1) + tiny) / (weight.flatten(1).sum(1) + tiny)


def scharr_magnitude(plane: Tensor) -> Tensor:
    """Gradient magnitude of (N, 1, H, W), zeros beyond the border."""
    kernel = constant(SCHARR, plane)
    plane = F.pad(plane, (1, 1, 1, 1))
    return magnitude(convolve(plane, kernel), convolve(plane, kernel.T))


def phase_congruency(plane: Tensor) -> Tensor:
    """Where the Fourier components of (N, H, W) are in phase, shape (N, H, W), in [0, 1]."""
    filters, noise_gains = _filter_bank(*plane.shape[-2:])
    filters = carried(filters, plane)
    spectrum = torch.fft.fft2(plane)
    energies, amplitudes = torch.zeros_like(plane), torch.zeros_like(plane)
    for bank, gain in zip(filters, noise_gains, strict=True):
        response = torch.fft.ifft2(spectrum[:, None] * bank)
        even, odd = response.real, response.imag
        amplitude = magnitude(even, odd)
        total_even, total_odd = even.sum(1, keepdim=True), odd.sum(1, keepdim=True)
        length = magnitude(total_even, total_odd) + EPSILON
        mean_even, mean_odd = total_even / length, total_odd / length
        along = even * mean_even + odd * mean_odd
        across = even * mean_odd - odd * mean_even
        energy = (along - across.abs()).sum(1) - _noise_threshold(amplitude[:, 0], gain)
        energies = energies + energy.relu()
        amplitudes = amplitudes + amplitude.sum(1)
    return energies / (amplitudes + EPSILON)


def _noise_threshold(finest: Tensor, gain: float) -> Tensor:
    """The energy that noise alone would have, from the median response of the finest scale."""
    power = finest.detach().square().flatten(1).median(1).values / math.log(2)
    tau = (power * gain).sqrt()
    threshold = tau * (math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2))
    return threshold[:, None, None] / 1.7


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # later callers may want a gradient
def _filter_bank(height: int, width: int) -> tuple[Tensor, tuple[float, ...]]:
    """Log-Gabor filters (orientation, scale, H, W) in float64, and each orientation's noise gain.

    The gain is the energy of the summed filters over that of the finest.
    """
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    fx = torch.fft.fftfreq(width, dtype=torch.float64)[None, :]
    radius = (fx * fx + fy * fy).sqrt()
    low_pass = 1 / (1 + (radius / 0.45) ** 30)
    radius[0, 0] = 1
    angle = torch.atan2(-fy, fx.expand(height, width))
    banks, gains = [], []
    for orientation in range(ORIENTATIONS):
        turn = angle - orientation * math.pi / ORIENTATIONS
        turn = torch.atan2(turn.sin(), turn.cos()).abs()
        spread = torch.exp(-turn.square() / (2 * ANGULAR_SIGMA**2))
        bank = []
        for scale in range(SCALES):
            logarithm = (radius * WAVELENGTH * OCTAVE**scale).log()
            radial = torch.exp(-logarithm.square() / (2 * math.log(BANDWIDTH) ** 2)) * low_pass
            radial[0, 0] = 0
            bank.append(radial * spread)
        banks.append(torch.stack(bank))
        summed = torch.fft.ifft2(banks[-1].sum(0)).real.square().sum() * height * width
        gains.append(float(summed / bank[0].square().sum()))
    return torch.stack(banks), tuple(gains)
