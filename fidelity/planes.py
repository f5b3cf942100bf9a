"""What the measures share: checks, colour planes, padding, windows, and roots with a gradient."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import carried, constant
from .choices import Planes, check_choice

PlaneMeasure = Callable[[Tensor, Tensor], Tensor]
SMALLEST_SIDE = 16
BT601 = (0.299, 0.587, 0.114)


def check_pair(x: Tensor, x_init: Tensor) -> None:
    """Raises: ValueError unless both are (B, 3, H, W) of one shape, with sides of 16 or more."""
    if x.shape != x_init.shape:
        raise ValueError(f"images differ in shape: {tuple(x.shape)} and {tuple(x_init.shape)}")
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"images must be RGB of shape (B, 3, H, W), not {tuple(x.shape)}")
    if min(x.shape[-2:]) < SMALLEST_SIDE:
        height, width = x.shape[-2:]
        raise ValueError(
            f"an image of {width}x{height} is too small for this fidelity: both sides must be "
            f"{SMALLEST_SIDE} or more; choose a larger image, or mse, mae or low_resolution"
        )


def mix_channels(x: Tensor, rows: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Linear combinations of the colour channels, (B, 3, H, W) -> (B, len(rows), H, W)."""
    return torch.einsum("kc,bchw->bkhw", constant(rows, x), x)


def on_planes(measure: PlaneMeasure, x: Tensor, x_init: Tensor, planes: Planes) -> Tensor:
    """Apply a measure of grey pictures to colour ones.

    Args:
        measure: (N, 1, H, W), (N, 1, H, W) -> (N,); its grey levels run from 0 to 255.
        x, x_init: RGB in [0, 1], shape (B, 3, H, W).
        planes: "rgb" measures the three channels and takes their mean, so that colour is held;
            "luma" measures 0.299 R + 0.587 G + 0.114 B alone, as most of the papers do.
    Returns: shape (B,).
    Raises: ValueError for other planes, and as `check_pair`.
    """
    check_pair(x, x_init)
    check_choice("planes", planes, get_args(Planes))
    batch, _, height, width = x.shape
    if planes == "luma":
        x, x_init = (mix_channels(image, (BT601,)) for image in (x, x_init))
    x, x_init = (255 * image.reshape(-1, 1, height, width) for image in (x, x_init))
    return measure(x, x_init).reshape(batch, -1).mean(1)


def pad(plane: Tensor, margins: tuple[int, int], mirror: Literal["edge", "inner"]) -> Tensor:
    """Mirror the borders, as often as the margin asks for.

    Args:
        plane: (..., H, W).
        margins: pixels before and after, on both axes.
        mirror: "edge" repeats the border pixel (dcba|abcd), "inner" does not (dcb|abcd).
    """
    for axis in (-2, -1):
        index = _mirrored(plane.shape[axis], margins, mirror == "edge")
        plane = plane.index_select(axis, carried(index, plane, torch.int64))
    return plane


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # later callers may want a gradient
def _mirrored(length: int, margins: tuple[int, int], repeat_edge: bool) -> Tensor:
    period = 2 * length if repeat_edge else max(1, 2 * length - 2)
    last = period - 1 if repeat_edge else period
    folded = [i % period for i in range(-margins[0], length + margins[1])]
    return torch.tensor([i if i < length else last - i for i in folded])


def convolve(plane: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Correlation of (N, 1, H, W) with a (h, w) kernel, where the kernel fits."""
    return F.conv2d(plane, kernel.to(plane)[None, None], stride=stride)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # later callers may want a gradient
def gaussian_window(size: int, sigma: float) -> Tensor:
    """One-dimensional Gaussian of unit sum, float64."""
    offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = torch.exp(-offsets.square() / (2 * sigma**2))
    return window / window.sum()


def smooth(plane: Tensor, window: Tensor) -> Tensor:
    """Separable correlation of (N, 1, H, W) with a 1-D window, where it fits."""
    window = carried(window, plane)
    return convolve(convolve(plane, window[:, None]), window[None, :])


def shrink_to_256(planes: Tensor) -> Tensor:
    """Average by the whole factor that brings the shorter side nearest to 256, as FSIM and VSI."""
    factor = max(1, round(min(planes.shape[-2:]) / 256))
    return F.avg_pool2d(planes, factor) if factor > 1 else planes


def similarity(a: Tensor, b: Tensor, constant: float) -> Tensor:
    """(2ab + c) / (a^2 + b^2 + c); exactly 1, and stationary, where a = b."""
    return (2 * (a * b) + constant) / (a * a + b * b + constant)


def safe_root(square: Tensor) -> Tensor:
    """Square root whose gradient at zero is zero, not infinite or NaN.

    The root of a sum of squares has a bounded gradient everywhere else, so nothing needs adding.
    """
    tiny = math.sqrt(torch.finfo(square.dtype).tiny)
    positive = square > tiny
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def magnitude(real: Tensor, imaginary: Tensor) -> Tensor:
    """Length of a vector, with gradient zero at zero."""
    return safe_root(real * real + imaginary * imaginary)


def log_similarity(value: Tensor, floor: float = 0.02) -> Tensor:
    """Logarithm of a similarity, continued below `floor` along its tangent.

    Similarities may be negative, where a fractional power has no real value and near zero an
    unbounded gradient. Their absolute value, which is often taken, rewards the opposite of the
    reference; the tangent keeps falling.
    """
    above = value > floor
    logarithm = torch.where(above, value, 1).log()
    return torch.where(above, logarithm, math.log(floor) + (value - floor) / floor)
