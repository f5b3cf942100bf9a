"""Scores as means over crops: grids that cover the picture, weights, and bounded memory.

A network trained on crops of one size is brought to any picture by averaging over crops. The
published rules leave out up to a third of the pixels, which then have no gradient at all;
`covering_crops` leaves out none.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..files.constants import carried

Position = tuple[int, int]
CHUNK = 4  # crops at once: the memory of a picture of any size is that of so many crops


def covering_crops(height: int, width: int, size: int, stride: int) -> list[Position]:
    """Top left corners of square crops that leave no pixel unseen, evenly spaced.

    Args:
        height, width: the picture's, at least `size`.
        size: side of a crop in pixels.
        stride: largest distance of neighbours in pixels, at most `size`.
    Returns: (top, left) in raster order; the last row and column end with the picture.
    Raises: ValueError if the picture is smaller than a crop or the stride leaves gaps.
    """
    if min(height, width) < size:
        raise ValueError(
            f"a picture of {height}x{width} (height x width) is smaller than a crop of {size}: "
            "enlarge it first"
        )
    if not 1 <= stride <= size:
        raise ValueError(f"stride {stride} must be from 1 to the crop's side {size}")
    rows, columns = (_starts(side, size, stride) for side in (height, width))
    return [(top, left) for top in rows for left in columns]


def _starts(side: int, size: int, stride: int) -> list[int]:
    steps = math.ceil((side - size) / stride)
    return [round(i * (side - size) / steps) for i in range(steps + 1)] if steps else [0]


def pixel_weights(height: int, width: int, size: int, positions: Sequence[Position]) -> Tensor:
    """Weights of crops by which each pixel of the picture weighs the same.

    A pixel's score is the mean over the crops that see it, the picture's the mean over its pixels:
    a crop's weight is the sum over its pixels of 1 / (crops that see the pixel).

    Args:
        height, width: the picture's.
        size: side of a crop.
        positions: corners; pixels that no crop sees are left out of the mean.
    Returns: (len(positions),), float64, sum 1, on the CPU.
    """
    return _pixel_weights(height, width, size, tuple(positions))


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # later callers may want a gradient
def _pixel_weights(height: int, width: int, size: int, positions: tuple[Position, ...]) -> Tensor:
    inverse = 1 / _coverage(height, width, size, positions).clamp_min(1)
    sums = [inverse[top : top + size, left : left + size].sum() for top, left in positions]
    weights = torch.stack(sums)
    return weights / weights.sum()


def _coverage(height: int, width: int, size: int, positions: Sequence[Position]) -> Tensor:
    seen = torch.zeros(height, width, dtype=torch.float64)
    for top, left in positions:
        seen[top : top + size, left : left + size] += 1
    return seen


def mean_over_crops(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    positions: Sequence[Position],
    size: int,
    weights: Tensor | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Weighted mean of a network's outputs over crops, in the memory of a few crops.

    Under autograd each chunk of crops is recomputed in the backward pass, so that the graph of no
    more than `chunk` crops exists at a time.

    Args:
        network: crops (n, 3, size, size) -> (n, ...): scores, or logits, or sums that are only
            combined after the mean. It must be deterministic and have frozen weights.
        image: (B, 3, H, W).
        positions: (top, left) corners inside the picture, the same for the whole batch.
        size: side of a crop.
        weights: one per position, sum 1; default `pixel_weights`. For a plain mean give
            `equal_weights(positions)`.
        chunk: crops at once, counted over the batch.
    Returns: (B, ...).
    """
    height, width = image.shape[-2:]
    outputs = crop_outputs(network, image, positions, size, chunk)
    if weights is None:
        weights = pixel_weights(height, width, size, positions)
    weights = carried(weights, outputs)
    return (outputs * weights.view(1, -1, *[1] * (outputs.ndim - 2))).sum(1)


def equal_weights(positions: Sequence[Position]) -> Tensor:
    """The weights of a plain mean over crops, (len(positions),), float64."""
    return _equal_weights(len(positions))


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _equal_weights(count: int) -> Tensor:
    return torch.full((count,), 1 / count, dtype=torch.float64)


def crop_outputs(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    positions: Sequence[Position],
    size: int,
    chunk: int = CHUNK,
) -> Tensor:
    """Outputs of each crop, (B, len(positions), ...); arguments as for `mean_over_crops`."""
    if chunk < 1:
        raise ValueError(f"chunk {chunk} must be 1 or more")
    jobs = [(item, top, left) for item in range(len(image)) for top, left in positions]
    track = torch.is_grad_enabled() and image.requires_grad
    outputs = []
    for start in range(0, len(jobs), chunk):
        part = jobs[start : start + chunk]

        def run(picture: Tensor, part: list[tuple[int, int, int]] = part) -> Tensor:
            crops = [picture[i, :, top : top + size, left : left + size] for i, top, left in part]
            return network(torch.stack(crops))

        if track:
            outputs.append(checkpoint(run, image, use_reentrant=False, preserve_rng_state=False))
        else:
            outputs.append(run(image))
    values = torch.cat(outputs)
    return values.view(len(image), len(positions), *values.shape[1:])


def crop_map(scores: Tensor, positions: Sequence[Position], size: int, side: Position) -> Tensor:
    """Local scores: at each pixel the mean over the crops that see it.

    Args:
        scores: (B, len(positions)).
        positions, size: as the scores were made.
        side: (height, width) of the picture.
    Returns: (B, height, width); NaN where no crop looks.
    """
    total = scores.new_zeros(len(scores), *side)
    for index, (top, left) in enumerate(positions):
        total[:, top : top + size, left : left + size] += scores[:, index, None, None]
    return total / _coverage(*side, size, positions).to(total)


def enlarged(image: Tensor, side: int) -> Tensor:
    """The picture, bilinearly enlarged to a short side of `side` pixels if it is smaller."""
    shortest = min(image.shape[-2:])
    if shortest >= side:
        return image
    size = [max(side, round(length * side / shortest)) for length in image.shape[-2:]]
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
