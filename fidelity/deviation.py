"""Measures that pool by the standard deviation: GMSD and MCSD."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import constant
from .choices import Planes
from .planes import (
    convolve,
    gaussian_window,
    magnitude,
    on_planes,
    pad,
    safe_root,
    similarity,
    smooth,
)

GMSD_CONSTANT = 170.0
PREWITT = ((1 / 3, 0.0, -1 / 3),) * 3
MCSD_SCALES = 3
MCSD_CONSTANT = (0.03 * 255) ** 2


def gmsd_distance(x: Tensor, x_init: Tensor, planes: Planes = "rgb") -> Tensor:
    """Gradient magnitude similarity deviation: how unevenly edges have changed.

    It does not see a change of mean level, nor one that is the same everywhere.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
        planes: "rgb" for the mean of the channels, "luma" as in the paper.
    Returns: shape (B,); 0 when equal, below 0.5; lower is better as published.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Xue, Zhang, Mou and Bovik, IEEE TIP 23(2), 2014.
    """
    return on_planes(_gmsd, x, x_init, planes)


def mcsd_distance(x: Tensor, x_init: Tensor, planes: Planes = "rgb") -> Tensor:
    """Multiscale contrast similarity deviation: how unevenly local contrast has changed.

    The idea is the paper's: similarity of local standard deviations, pooled by the standard
    deviation, over a pyramid. Its constants were not available to us; ours are a Gaussian window
    of 11 pixels (sigma 1.5), the constant of SSIM's contrast term, three scales, and their plain
    mean (a product would have no gradient where one factor is zero).

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more; small pictures have
            fewer scales, as many as keep 8 pixels.
        planes: "rgb" for the mean of the channels, "luma" for brightness alone.
    Returns: shape (B,); 0 when equal, below 0.5.
    Raises: ValueError if shapes differ or a side is too small.
    Source: after Wang, Zhang, Jia, Li and Shu, Signal Processing: Image Communication 45, 2016.
    """
    return on_planes(_mcsd, x, x_init, planes)


def _gmsd(x: Tensor, y: Tensor) -> Tensor:
    edges_x, edges_y = (_edges(F.avg_pool2d(plane, 2)) for plane in (x, y))
    return _deviation(similarity(edges_x, edges_y, GMSD_CONSTANT))


def _edges(plane: Tensor) -> Tensor:
    kernel = constant(PREWITT, plane)
    plane = F.pad(plane, (1, 1, 1, 1))
    return magnitude(convolve(plane, kernel), convolve(plane, kernel.T))


def _mcsd(x: Tensor, y: Tensor) -> Tensor:
    deviations = []
    for _ in range(MCSD_SCALES):
        contrast = similarity(_contrast(x), _contrast(y), MCSD_CONSTANT)
        deviations.append(_deviation(contrast))
        if min(x.shape[-2:]) < 16:
            break
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return torch.stack(deviations, 1).mean(1)


def _contrast(plane: Tensor) -> Tensor:
    window = gaussian_window(11, 1.5)
    plane = pad(plane, (5, 5), "edge")
    mean = smooth(plane, window)
    return safe_root(smooth(plane * plane, window) - mean * mean)


def _deviation(values: Tensor) -> Tensor:
    values = values.flatten(1)
    centred = values - values.mean(1, keepdim=True)
    return safe_root(centred.square().sum(1) / (values.shape[1] - 1))
