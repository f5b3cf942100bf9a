"""Photographs for benchmarks: read, cut to their middle, made tensors."""

from pathlib import Path

import numpy as np
import torch
from latent_map.files.pictures import read_array
from torch import Tensor


def read_photograph(path: Path) -> np.ndarray:
    """A picture file as float32 (H, W, 3) in [0, 1]."""
    return read_array(path).astype(np.float32) / 255


def central_crop(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of a photograph (H, W, 3).

    Raises: ValueError if it is smaller.
    """
    top, left = (
        (has - wanted) // 2 for has, wanted in zip(pixels.shape[:2], (height, width), strict=True)
    )
    if min(top, left) < 0:
        raise ValueError(
            f"a photograph of {pixels.shape[1]}x{pixels.shape[0]} pixels is smaller than "
            f"{width}x{height}: choose a larger one, or a smaller side"
        )
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def as_tensor(pixels: np.ndarray) -> Tensor:
    """Pixels (H, W, 3) as (1, 3, H, W)."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]


def central_square(path: Path, side: int) -> Tensor:
    """The middle of a picture file, (1, 3, side, side) in [0, 1]; raises as `central_crop`."""
    return as_tensor(central_crop(read_photograph(path), side, side))
