"""Plain pixel distances."""

from torch import Tensor


def mean_squared_error(x: Tensor, x_init: Tensor) -> Tensor:
    """Mean squared difference of two images (B, 3, H, W) in [0, 1], per item, shape (B,)."""
    _check_shapes(x, x_init)
    return (x - x_init).square().flatten(1).mean(1)


def mean_absolute_error(x: Tensor, x_init: Tensor) -> Tensor:
    """Mean absolute difference of two images (B, 3, H, W) in [0, 1], per item, shape (B,)."""
    _check_shapes(x, x_init)
    return (x - x_init).abs().flatten(1).mean(1)


def _check_shapes(x: Tensor, x_init: Tensor) -> None:
    if x.shape != x_init.shape:
        raise ValueError(f"images differ in shape: {tuple(x.shape)} and {tuple(x_init.shape)}")
