"""Mean squared error after Gaussian smoothing."""

import math

from torch import Tensor

from .planes import gaussian_window, pad, smooth


def pamse_distance(x: Tensor, x_init: Tensor, sigma: float = 0.8) -> Tensor:
    """Perceptual-fidelity aware MSE: the mean squared error of the smoothed pictures.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W).
        sigma: of the Gaussian, in pixels, above 0. The published value was not available to us;
            0.8 is ours.
    Returns: shape (B,); 0 when equal, at most 1.
    Raises: ValueError if shapes differ or sigma is not positive.
    Source: Xue, Mou, Zhang and Feng, ICCV 2013.
    """
    if x.shape != x_init.shape:
        raise ValueError(f"images differ in shape: {tuple(x.shape)} and {tuple(x_init.shape)}")
    if sigma <= 0:
        raise ValueError(f"sigma {sigma} must be above 0")
    radius = math.ceil(3 * sigma)
    difference = (x - x_init).flatten(0, 1)[:, None]
    window = gaussian_window(2 * radius + 1, sigma)
    smoothed = smooth(pad(difference, (radius, radius), "edge"), window)
    return smoothed.reshape(x.shape).square().flatten(1).mean(1)
