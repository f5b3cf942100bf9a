"""Plain pixel distances."""

from torch import Tensor


def mean_squared_error(x: Tensor, x_init: Tensor) -> Tensor:
    """Mean squared difference of two images (B, 3, H, W) in [0, 1], per item, shape (B,)."""
    return (x - x_init).square().flatten(1).mean(1)


def mean_absolute_error(x: Tensor, x_init: Tensor) -> Tensor:
    """Mean absolute difference of two images (B, 3, H, W) in [0, 1], per item, shape (B,)."""
    return (x - x_init).abs().flatten(1).mean(1)
