"""Information measures: VIF and IFC, on a steerable pyramid with a Gaussian scale mixture."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import carried
from ..files.devices import in_float64
from .choices import Planes
from .planes import convolve, on_planes, pad
from .tables import table

LEVELS = 4
BANDS = (0, 3)  # of the six orientations, the two that both measures look at
BLOCK = 3
SMALLEST_BAND = 12  # enough 3 x 3 neighbourhoods for a covariance of nine coefficients
VISUAL_NOISE = 0.4  # variance, grey levels squared
ROUNDING_NOISE = 1 / 12  # variance of rounding to whole grey levels
TINY = 1e-10


class _Source(NamedTuple):
    """The scale mixture of a reference band: one scale per block, shared eigenvalues."""

    scales: Tensor  # (N, h, w)
    eigenvalues: Tensor  # (N, 9)


def vif_distance(x: Tensor, x_init: Tensor, planes: Planes = "rgb") -> Tensor:
    """1 - VIF: the share of the reference's visual information that is lost.

    Not a distance in the strict sense: a picture of *more* contrast than the reference keeps more
    than all of its information and scores below zero, and the gradient at equality is not zero.
    An optimisation under VIF alone therefore overshoots in contrast.

    Pictures below 96 pixels have fewer of the four levels (a band needs 12). The reference is a
    constant: no gradient flows to it.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
        planes: "rgb" for the mean of the channels, "luma" as in the paper.
    Returns: shape (B,); 0 when equal, at most 1.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Sheikh and Bovik, IEEE TIP 15(2), 2006.
    """
    return on_planes(_vif, x, x_init, planes)


def ifc_distance(x: Tensor, x_init: Tensor, planes: Planes = "rgb") -> Tensor:
    """1 - IFC(x) / IFC(x_init): the share of information fidelity that is lost.

    IFC has no ceiling and is infinite at equality. Ours adds the variance of rounding to 8 bits,
    1/12 of a grey level squared, to the distortion's, and divides by the value at equality. Like
    VIF it can fall below zero, and its reference is a constant.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
        planes: "rgb" for the mean of the channels, "luma" as in the paper.
    Returns: shape (B,); 0 when equal, at most 1.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Sheikh, Bovik and de Veciana, IEEE TIP 14(12), 2005; floor and ratio are ours.
    """
    return on_planes(_ifc, x, x_init, planes)


def _vif(x: Tensor, y: Tensor) -> Tensor:
    return 1 - _information_ratio(x, y, VISUAL_NOISE)


def _ifc(x: Tensor, y: Tensor) -> Tensor:
    return 1 - _information_ratio(x, y, ROUNDING_NOISE)


def _information_ratio(x: Tensor, y: Tensor, noise: float) -> Tensor:
    kept, whole = torch.zeros_like(x[:, 0, 0, 0]), torch.zeros_like(x[:, 0, 0, 0])
    for level, (bands_x, bands_y) in enumerate(zip(_bands(x), _bands(y), strict=True)):
        window = 2 ** (LEVELS - level) + 1
        for band_x, band_y in zip(bands_x, bands_y, strict=True):
            source = _fit_source(band_y.detach())
            gain, variance = _channel(band_x, band_y.detach(), window)
            inside = _inner(gain.shape, window)
            signal = source.scales[inside][..., None] * source.eigenvalues[:, None, None]
            gain, variance = gain[inside][..., None], variance[inside][..., None]
            kept = kept + torch.log2(1 + gain**2 * signal / (variance + noise)).sum((1, 2, 3))
            whole = whole + torch.log2(1 + signal / noise).sum((1, 2, 3))
    return (kept + TINY) / (whole + TINY)


def _bands(plane: Tensor) -> list[list[Tensor]]:
    """The two oriented bands of each level, finest first, (N, 1, h, w)."""
    bands, lower = (carried(table(f"sp5.{name}"), plane) for name in ("bands", "lower"))
    low = convolve(pad(plane, (2, 2), "inner"), carried(table("sp5.low"), plane))
    levels = []
    while len(levels) < LEVELS and (not levels or min(low.shape[-2:]) >= SMALLEST_BAND):
        padded = pad(low, (3, 3), "inner")
        levels.append([convolve(padded, bands[band]) for band in BANDS])
        low = convolve(pad(low, (4, 4), "inner"), lower, stride=2)
    return levels


def _fit_source(band: Tensor) -> _Source:
    """Scale mixture of the 3 x 3 neighbourhoods of a band, fitted in float64 where there is one."""
    band = _whole_blocks(band)[:, 0]
    exact = in_float64(band)
    patches = exact.unfold(1, BLOCK, 1).unfold(2, BLOCK, 1).flatten(3).flatten(1, 2)
    centred = patches - patches.mean(1, keepdim=True)
    covariance = centred.transpose(1, 2) @ centred / patches.shape[1]
    blocks = exact.unfold(1, BLOCK, BLOCK).unfold(2, BLOCK, BLOCK).flatten(3)
    whitened = torch.einsum("nhwk,nkl->nhwl", blocks, torch.linalg.pinv(covariance, hermitian=True))
    scales = (whitened * blocks).sum(-1).relu() / BLOCK**2
    eigenvalues = torch.linalg.eigvalsh(covariance).relu()
    return _Source(scales.to(band), eigenvalues.to(band))


def _channel(x: Tensor, y: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Gain and noise variance of the distortion y -> x around each block, (N, h, w)."""
    x, y = _whole_blocks(x), _whole_blocks(y)
    mean_x, mean_y = _block_means(x, window), _block_means(y, window)
    variance_x = (_block_means(x * x, window) - mean_x * mean_x).relu()
    variance_y = (_block_means(y * y, window) - mean_y * mean_y).relu()
    covariance = _block_means(x * y, window) - mean_x * mean_y
    gain = torch.where(variance_y > TINY, covariance / variance_y.clamp(min=TINY), 0).relu()
    return gain, (variance_x - gain * covariance).relu()


def _block_means(band: Tensor, window: int) -> Tensor:
    margin = (window - 1) // 2
    # The first window is centred on the first block's centre, one pixel inside.
    padded = pad(band, (margin, margin), "inner")[..., 1:-1, 1:-1]
    return F.avg_pool2d(padded, window, BLOCK)[:, 0]


def _whole_blocks(band: Tensor) -> Tensor:
    height, width = (side // BLOCK * BLOCK for side in band.shape[-2:])
    return band[..., :height, :width]


def _inner(shape: torch.Size, window: int) -> tuple[slice, ...]:
    """Leave out blocks whose window reaches over the border, where that leaves any."""
    border = math.ceil((window - 1) / 2 / BLOCK)
    margins = [min(border, (side - 1) // 2) for side in shape[1:]]
    return (slice(None), *(slice(m, side - m) for m, side in zip(margins, shape[1:], strict=True)))
