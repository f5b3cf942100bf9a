"""Normalised Laplacian pyramid distance."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import carried, constant
from .choices import Planes
from .planes import convolve, on_planes, pad, safe_root

BINOMIAL = (0.05, 0.25, 0.40, 0.25, 0.05)
# Per scale, finest first: the weights of the four neighbours (above, left, right, below) whose
# magnitudes are summed, and the constant added. The last is for the low-pass residual.
NORMALISATION = (
    ((0.1015, 0.1460, 0.1493, 0.1011), 0.0248),
    ((0.0837, 0.1846, 0.1986, 0.0757), 0.0185),
    ((0.0467, 0.2243, 0.2138, 0.0477), 0.0179),
    ((0.0000, 0.2616, 0.2503, 0.0000), 0.0191),
    ((0.0000, 0.2552, 0.2598, 0.0000), 0.0220),
    ((0.0000, 0.0717, 0.2215, 0.0000), 0.2782),
)


def nlpd_distance(x: Tensor, x_init: Tensor, planes: Planes = "rgb") -> Tensor:
    """Root mean square difference of locally normalised Laplacian pyramids, mean over six scales.

    Args:
        x, x_init: RGB in [0, 1], shape (B, 3, H, W), sides of 16 or more.
        planes: "rgb" for the mean of the channels, "luma" as in the paper.
    Returns: shape (B,); 0 when equal, about 1 for pictures that have nothing in common.
    Raises: ValueError if shapes differ or a side is too small.
    Source: Laparra, Balle, Berardino and Simoncelli, Human Vision and Electronic Imaging 2016.
    """
    return on_planes(_distance, x, x_init, planes)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    scales = zip(_pyramid(x / 255), _pyramid(y / 255), strict=True)
    roots = [safe_root((a - b).square().flatten(1).mean(1)) for a, b in scales]
    return torch.stack(roots, 1).mean(1)


def _pyramid(plane: Tensor) -> list[Tensor]:
    bands = []
    for neighbours, floor in NORMALISATION[:-1]:
        low = convolve(pad(plane, (2, 2), "edge"), carried(_kernel(), plane), stride=2)
        bands.append(_normalise(plane - _expand(low, plane.shape[-2:]), neighbours, floor))
        plane = low
    return [*bands, _normalise(plane, *NORMALISATION[-1])]


def _expand(low: Tensor, size: torch.Size) -> Tensor:
    low = F.pad(low, (1, 1, 1, 1), mode="replicate")
    spread = low.new_zeros(*low.shape[:-2], 2 * low.shape[-2], 2 * low.shape[-1])
    spread[..., ::2, ::2] = 4 * low
    height, width = size
    # Two of the four added rows make the kernel fit; the others are the padded samples.
    return convolve(F.pad(spread, (2, 2, 2, 2)), carried(_kernel(), low))[
        ..., 2 : 2 + height, 2 : 2 + width
    ]


def _normalise(band: Tensor, neighbours: tuple[float, ...], floor: float) -> Tensor:
    above, left, right, below = neighbours
    kernel = constant(((0.0, above, 0.0), (left, 0.0, right), (0.0, below, 0.0)), band)
    return band / (floor + convolve(F.pad(band.abs(), (1, 1, 1, 1)), kernel))


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # later callers may want a gradient
def _kernel() -> Tensor:
    binomial = torch.tensor(BINOMIAL, dtype=torch.float64)
    return binomial[:, None] * binomial[None, :]
