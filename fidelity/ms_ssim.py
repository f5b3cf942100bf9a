"""Multi-scale structural similarity."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import constant
from .choices import Planes
from .planes import gaussian_window, log_similarity, on_planes, similarity, smooth

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ms_ssim_distance(x: Tensor, x_init: Tensor, planes: Planes = "rgb") -> Tensor:
    """1 - MS-SSIM: luminance, contrast and structure over up to five scales.

    Pictures below 161 pixels have fewer scales (a window of 11 must fit) and the weights of the
    others are rescaled to sum to one. Negative similarities, as between noise and a picture, are
    continued smoothly instead of being cut to zero.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
        planes: "rgb" for the mean of the channels, "luma" as in the paper.
    Returns: shape (B,); 0 when equal, at most 1.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Wang, Simoncelli and Bovik, Asilomar 2003.
    """
    return on_planes(_distance, x, x_init, planes)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    scales = _scales(min(x.shape[-2:]))
    weights = constant(WEIGHTS[:scales], x) / sum(WEIGHTS[:scales])
    window = gaussian_window(WINDOW, 1.5)
    logarithms = []
    for scale in range(scales):
        contrast_structure, luminance = _ssim_maps(x, y, window)
        if scale == scales - 1:
            contrast_structure = contrast_structure * luminance
        logarithms.append(log_similarity(contrast_structure.flatten(1).mean(1)))
        x, y = _halve(x), _halve(y)
    return -torch.expm1(torch.stack(logarithms, 1) @ weights)


def _scales(side: int) -> int:
    scales = 0
    while side >= WINDOW and scales < len(WEIGHTS):
        scales, side = scales + 1, (side + 1) // 2
    return scales


def _ssim_maps(x: Tensor, y: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    mean_x, mean_y = smooth(x, window), smooth(y, window)
    variance_x = smooth(x * x, window) - mean_x * mean_x
    variance_y = smooth(y * y, window) - mean_y * mean_y
    covariance = smooth(x * y, window) - mean_x * mean_y
    contrast_structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return contrast_structure, similarity(mean_x, mean_y, C1)


def _halve(plane: Tensor) -> Tensor:
    odd = (0, plane.shape[-1] % 2, 0, plane.shape[-2] % 2)
    return F.avg_pool2d(F.pad(plane, odd, mode="replicate"), 2)
