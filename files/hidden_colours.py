"""What full transparency hides: no part of a picture, yet part of its file."""

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_hidden(pixels: Tensor, visible: Tensor) -> Tensor:
    """Pictures whose hidden pixels have the colours of their surroundings.

    The nearest visible pixels are averaged, coarse to fine, so that no edge appears where there is
    none to be seen.

    Args:
        pixels: (B, C, H, W).
        visible: (B or 1, 1, H, W), whether a pixel is to be seen at all.
    Returns: `pixels` where all or nothing is visible.
    """
    if visible.all() or not visible.any():
        return pixels
    weight = visible.to(pixels)
    return torch.where(visible, pixels, _filled(pixels * weight, weight))


def _filled(weighted: Tensor, weight: Tensor) -> Tensor:
    """Weighted colours by their weights, and where there is none what a coarser level has."""
    known = weight > 0
    here = weighted / torch.where(known, weight, torch.ones_like(weight))
    if known.all() or max(weight.shape[-2:]) == 1:
        return here
    size = weight.shape[-2:]
    coarse = (F.avg_pool2d(z, 2, ceil_mode=True) for z in (weighted, weight))
    above = F.interpolate(_filled(*coarse), size=size, mode="bilinear")
    return torch.where(known, here, above)
