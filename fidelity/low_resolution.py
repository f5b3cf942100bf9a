"""Distance at reduced resolution: keeps content and colour, leaves room for detail, Eq. (20)."""

import math
from typing import get_args

import torch
from torch import Tensor

from ..files.devices import resized
from .choices import Reduction, check_choice

# Keeps the square root's gradient finite where the optimisation starts, at distance zero.
ROOT_GUARD = 1e-12


def downsample(image: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic downsampling of (B, 3, H, W) by `scale`, sides rounded up."""
    if scale == 1:
        return image
    return resized(image, [math.ceil(side / scale) for side in image.shape[-2:]])


def low_resolution_distance(
    x: Tensor, x_init: Tensor, scale: int = 4, reduction: Reduction = "mse"
) -> Tensor:
    """Distance between two images after bicubic downsampling, Eq. (20).

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), same device and dtype.
        scale: downsampling factor s, at least 1. The paper gives no value; 4 is ours.
        reduction: "rms" root of the mean square, "mse" the mean square, "l2" the Euclidean norm as
            printed. The paper does not say; a typical change costs 0.03, 0.001 or 3, and it is
            the first of them that the paper's lambda of 0.01 can balance.
    Returns: distance per item, shape (B,); 0 when equal.
    Raises: ValueError if scale or reduction is not one of these, or the shapes differ.
    Source: Zhang et al., arXiv 2403.06406, Eq. (20).
    """
    check_choice("reduction", reduction, get_args(Reduction))
    if scale < 1:
        raise ValueError(f"scale {scale} must be 1 or more")
    if x.shape != x_init.shape:
        raise ValueError(f"images differ in shape: {tuple(x.shape)} and {tuple(x_init.shape)}")
    square = (downsample(x, scale) - downsample(x_init, scale)).square().flatten(1)
    if reduction == "mse":
        return square.mean(1)
    if reduction == "rms":
        return _guarded_root(square.mean(1))
    return _guarded_root(square.sum(1))


def _guarded_root(square: Tensor) -> Tensor:
    return (square + ROOT_GUARD).sqrt() - torch.full_like(square, ROOT_GUARD).sqrt()
