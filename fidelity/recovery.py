"""Reference image recovery: what is left of a picture when one measure alone leads back to it."""

import math
from collections.abc import Callable
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from .choices import Start, check_choice
from .fidelity import Fidelity, check_fidelity
from .pixel import psnr

NOISE_MEAN, NOISE_DEVIATION = 0.5, 0.2
JPEG_QUALITY = 5
FINAL_RATE = 0.05  # of the first learning rate, at the end of the cosine


class Recovery(NamedTuple):
    """What came of it.

    Attributes:
        start: (1, 3, H, W), where it began.
        picture: the iterate of the lowest distance, in [0, 1].
        distances: per iteration, before its step, and after the last.
        psnr: of the picture against the reference, in dB; infinite when equal.
    """

    start: Tensor
    picture: Tensor
    distances: tuple[float, ...]
    psnr: float


def starting_picture(reference: Tensor, start: Start, seed: int = 0) -> Tensor:
    """Where a recovery begins: white Gaussian noise, or the reference as a poor JPEG.

    Args:
        reference: RGB in [0, 1], shape (1, 3, H, W).
        start: "noise" (mean 0.5, deviation 0.2, cut to [0, 1]) or "jpeg" (quality 5).
        seed: of the noise, from 0 to below 2^63.
    Raises: ValueError for another start or seed.
    """
    check_choice("start", start, get_args(Start))
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed {seed} must be a whole number, from 0 to below 2^63")
    if start == "noise":
        noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(seed))
        return (NOISE_MEAN + NOISE_DEVIATION * noise).clamp(0, 1).to(reference)
    return _compress(reference)


def recover_reference(
    fidelity: Fidelity,
    reference: Tensor,
    start: Tensor,
    iterations: int = 500,
    learning_rate: float = 0.02,
    callback: Callable[[int, float], None] | None = None,
) -> Recovery:
    """Minimise a measure over the pixels with Adam.

    The gradient is scaled to root mean square one before each step where it is longer (gradient
    clipping as needed for measures with rare spikes), and pixels are cut to [0, 1].

    Args:
        fidelity: the measure.
        reference: RGB in [0, 1], shape (1, 3, H, W).
        start: of the same shape.
        iterations: steps, 1 or more.
        learning_rate: Adam's, in units of the pixel range, above 0; falls by a cosine.
        callback: called with (iteration, distance).
    Raises: ValueError for numbers out of range, or a picture too small for the measure;
        RuntimeError naming the iteration if a distance or a gradient is not finite.
    Source: Ding, Ma, Wang and Simoncelli, IJCV 129, 2021, Section 2.
    """
    check_fidelity(fidelity, reference)
    if iterations < 1:
        raise ValueError(f"iterations {iterations} must be 1 or more")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning rate {learning_rate} must be above 0")
    pixels = start.detach().clone().requires_grad_(True)
    # Gradients shrink with the picture's area: the usual eps of 1e-8 would shrink the step too.
    optimizer = torch.optim.Adam([pixels], lr=learning_rate, eps=1e-16)
    best, distances = (math.inf, pixels.detach().clone()), []
    for iteration in range(iterations + 1):
        with torch.enable_grad():
            distance = fidelity(pixels, reference).sum()
        value = float(distance.detach())
        if not math.isfinite(value):
            raise RuntimeError(f"the distance is {value} in iteration {iteration}")
        distances.append(value)
        if value < best[0]:
            best = (value, pixels.detach().clone())
        if callback is not None:
            callback(iteration, value)
        if iteration < iterations:
            _step(optimizer, pixels, distance, learning_rate * _cosine(iteration / iterations))
    return Recovery(start, best[1], tuple(distances), psnr(best[1], reference))


def _step(optimizer: torch.optim.Optimizer, pixels: Tensor, distance: Tensor, rate: float) -> None:
    (gradient,) = torch.autograd.grad(distance, pixels)
    if not torch.isfinite(gradient).all():
        raise RuntimeError("the gradient is not finite: the measure cannot steer from here")
    length = gradient.square().mean().sqrt()
    pixels.grad = gradient / length.clamp(min=1)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    with torch.no_grad():
        pixels.clamp_(0, 1)


def _cosine(done: float) -> float:
    return FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2


def _compress(reference: Tensor) -> Tensor:
    import numpy as np
    from PIL import Image

    from ..files.recompressed import recompressed

    levels = (255 * reference[0].clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
    decoded = np.array(recompressed(Image.fromarray(levels), JPEG_QUALITY))
    return (torch.from_numpy(decoded).permute(2, 0, 1)[None] / 255).to(reference)
