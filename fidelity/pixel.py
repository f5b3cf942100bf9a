"""Plain pixel distances."""

import math

from torch import Tensor


def mean_squared_error(x: Tensor, x_init: Tensor) -> Tensor:
    """Mean squared difference of two images (B, 3, H, W) in [0, 1], per item, shape (B,)."""
    _check_shapes(x, x_init)
    return (x - x_init).square().flatten(1).mean(1)


def mean_absolute_error(x: Tensor, x_init: Tensor) -> Tensor:
    """Mean absolute difference of two images (B, 3, H, W) in [0, 1], per item, shape (B,)."""
    _check_shapes(x, x_init)
    return (x - x_init).abs().flatten(1).mean(1)


def psnr(x: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1], in dB, over all of a batch.

    Returns: infinity where they are equal.
    """
    _check_shapes(x, reference)
    error = float((x - reference).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def _check_shapes(x: Tensor, x_init: Tensor) -> None:
    if x.shape != x_init.shape:
        raise ValueError(f"images differ in shape: {tuple(x.shape)} and {tuple(x_init.shape)}")
