"""Complex wavelet structural similarity."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import carried
from .choices import Planes
from .planes import gaussian_window, magnitude, on_planes

LEVEL, ORIENTATIONS = 4, 8
WINDOW = 7
STABILITY = 0.01  # squared grey levels; the paper has a small constant too, the code 0


def cw_ssim_distance(x: Tensor, x_init: Tensor, planes: Planes = "rgb") -> Tensor:
    """1 - CW-SSIM: similarity of local phases in one octave of a complex steerable pyramid.

    It looks at the pyramid's fourth level alone (wavelengths of about 8 to 32 pixels), where small
    shifts and rotations hardly count; brightness and everything finer or coarser is not seen.
    Below 64 pixels the level is the third, below 32 the second.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
        planes: "rgb" for the mean of the channels, "luma" for brightness alone.
    Returns: shape (B,); 0 when equal, at most 1.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Sampat, Wang, Gupta, Bovik and Markey, IEEE TIP 18(11), 2009; pyramid: Portilla and
        Simoncelli, IJCV 40(1), 2000.
    """
    return on_planes(_distance, x, x_init, planes)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    a, b = complex_bands(x[:, 0]), complex_bands(y[:, 0])
    product = F.avg_pool2d((a.real * b.real + a.imag * b.imag), WINDOW, stride=1)
    crossed = F.avg_pool2d((a.imag * b.real - a.real * b.imag), WINDOW, stride=1)
    powers = [part * part for part in (a.real, b.real, a.imag, b.imag)]
    power = F.avg_pool2d(powers[0] + powers[2], WINDOW, stride=1)
    power = power + F.avg_pool2d(powers[1] + powers[3], WINDOW, stride=1)
    index = (2 * magnitude(product, crossed) + STABILITY) / (power + STABILITY)
    height, width = index.shape[-2:]
    sigma = (height + WINDOW - 1) / 4
    rows, columns = gaussian_window(height, sigma), gaussian_window(width, sigma)
    loss = torch.einsum("nohw,h,w->no", 1 - index, carried(rows, x), carried(columns, x))
    return loss.mean(1)


def complex_bands(plane: Tensor) -> Tensor:
    """The oriented bands of one level of the complex steerable pyramid.

    Args:
        plane: (N, H, W).
    Returns: complex, (N, orientation, h, w), sampled 2 ** (level - 1) times more coarsely.
    """
    height, width = plane.shape[-2:]
    level = min(LEVEL, int(math.log2(min(height, width) / 8)) + 1)
    masks, rows, columns = _masks(height, width, level)
    rows, columns = (carried(kept, plane, kept.dtype) for kept in (rows, columns))
    spectrum = torch.fft.fft2(plane)[:, rows][:, :, columns]
    scale = masks.shape[-2] * masks.shape[-1] / (height * width)
    return torch.fft.ifft2(spectrum[:, None] * carried(masks, plane)) * scale


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # later callers may want a gradient
def _masks(height: int, width: int, level: int) -> tuple[Tensor, Tensor, Tensor]:
    """Masks (orientation, h, w) in float64, and the rows and columns of the spectrum to keep."""
    rows, columns = _kept(height, level), _kept(width, level)
    fy = 2 * torch.fft.fftfreq(height, dtype=torch.float64)[rows][:, None]
    fx = 2 * torch.fft.fftfreq(width, dtype=torch.float64)[columns][None, :]
    radius = (fx * fx + fy * fy).sqrt()
    radius[0, 0] = 1e-9
    octave = radius.log2() + level
    radial = (octave.clamp(-1, 0) * math.pi / 2).cos() * _low_pass(octave - 1)
    order = ORIENTATIONS - 1
    norm = 2**order * math.factorial(order) / math.sqrt(ORIENTATIONS * math.factorial(2 * order))
    angle = torch.atan2(fy, fx)
    masks = []
    for orientation in range(ORIENTATIONS):
        towards = (angle - orientation * math.pi / ORIENTATIONS).cos().relu()
        masks.append(2 * norm * towards**order * radial)
    return torch.stack(masks), rows, columns


def _low_pass(octave: Tensor) -> Tensor:
    return (octave.clamp(-1, 0) * math.pi / 2 + math.pi / 2).cos()


def _kept(length: int, level: int) -> Tensor:
    """Indices of the lowest frequencies that remain after level - 1 halvings, DC first."""
    shorter = length
    for _ in range(level - 1):
        shorter = (shorter + 1) // 2
    order = torch.fft.fftfreq(shorter) * shorter
    return order.round().long() % length
