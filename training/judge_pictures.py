"""What the judge is trained on: photographs, degraded, on the way there, and no good at all."""

from typing import NamedTuple

import torch
from torch import Tensor

from training.batch_degradations import degrade_batch, gaussian_blur, jpeg, noise, rescale
from training.photographs import CropBatches, vary_colours

MARGIN = 16  # pixels around a crop, for what blur wraps around and to leave JPEG's grid
EDITED = 0.15  # of the pictures are wrongly edited instead of degraded
WHOLE = 0.5  # of the pictures are the degraded ones themselves, the rest lies on the way
LADDERS = ("blur", "noise", "rescale", "jpeg")


class Lesson(NamedTuple):
    """A batch for the judge, pictures (n, 3, H, W) in [0, 1].

    Attributes:
        clean: photographs.
        degraded: of each photograph, all the way.
        between: of each photograph, a part of the way (often all of it).
        mild, severe: of the first photographs, one kind in two severities.
        hopeless: even, black and nearly even pictures.
    """

    clean: Tensor
    degraded: Tensor
    between: Tensor
    mild: Tensor
    severe: Tensor
    hopeless: Tensor


@torch.no_grad()
def lesson(crops: CropBatches, count: int, size: int) -> Lesson:
    """Draw a batch of `count` photographs, `size` pixels, a multiple of 16."""
    clean = vary_colours(crops.varied(count, size + 2 * MARGIN))
    degraded = _where(_coins(clean, EDITED), edit(clean), degrade_batch(clean, clean=0.05))
    mild, severe = ladder(clean[: max(1, count // 2)])
    top, left = torch.randint(MARGIN - 8, MARGIN + 8, (2,)).tolist()
    window = (..., slice(top, top + size), slice(left, left + size))
    clean, degraded, mild, severe = (x[window] for x in (clean, degraded, mild, severe))
    degraded, mild, severe = ((255 * x).round() / 255 for x in (degraded, mild, severe))
    share = torch.rand(count, device=clean.device)
    share = torch.where(_coins(clean, WHOLE), 1.0, share)[:, None, None, None]
    between = clean + share * (degraded - clean)
    few = clean[: max(1, count // 4)]
    return Lesson(clean, degraded, between, mild, severe, hopeless(few))


def edit(x: Tensor) -> Tensor:
    """Photographs (B, 3, H, W) with wrong contrast, too much sharpening, colour or light."""
    draws = torch.rand(4, len(x), 1, 1, 1, device=x.device)
    strength = 0.5 + draws[1]
    kind = (4 * draws[0]).long()
    mean = x.mean((1, 2, 3), keepdim=True)
    factor = torch.where(draws[2] < 0.5, 1 - 0.6 * draws[3], 1 + 0.8 * strength)
    contrast = mean + factor * (x - mean)
    radius = 0.6 + 1.6 * draws[2].flatten()
    soft = gaussian_blur(x, radius, radius, torch.zeros_like(radius))
    sharp = x + 2 * strength * (x - soft)
    grey = x.mean(1, keepdim=True)
    saturation = torch.where(draws[2] < 0.5, 0.6 * draws[3], 1.4 + strength)
    colour = grey + saturation * (x - grey)
    cast = x + 0.1 * strength * torch.randn(len(x), 3, 1, 1, device=x.device)
    edited = torch.where(kind == 0, contrast, torch.where(kind == 1, sharp, colour))
    return torch.where(kind == 3, cast, edited).clamp(0, 1)


def ladder(x: Tensor) -> tuple[Tensor, Tensor]:
    """Degrade by one kind each in two severities, first the milder one."""
    mild, severe = [], []
    offset = int(torch.randint(len(LADDERS), ()))
    for number, part in enumerate(x.chunk(len(LADDERS))):
        low = 0.75 * torch.rand(len(part), device=x.device)
        high = low + 0.15 + (0.85 - low) * torch.rand(len(part), device=x.device)
        kind = LADDERS[(number + offset) % len(LADDERS)]
        seed = int(torch.randint(2**31, ()))
        for pictures, severity in ((mild, low), (severe, high)):
            with torch.random.fork_rng():
                torch.manual_seed(seed)  # both have the same grain
                pictures.append(_degraded(part, kind, severity))
    return torch.cat(mild), torch.cat(severe)


def hopeless(x: Tensor) -> Tensor:
    """Pictures as large as x that show nothing: even or nearly so, with or without noise."""
    draws = torch.rand(3, len(x), 1, 1, 1, device=x.device)
    even = torch.rand(len(x), 3, 1, 1, device=x.device)
    mean = x.mean((2, 3), keepdim=True)
    colour = torch.where(draws[0] < 0.25, torch.zeros_like(even), even)
    colour = torch.where(draws[0] > 0.9, torch.ones_like(even), colour)
    colour = torch.where((draws[0] > 0.6) & (draws[0] < 0.9), mean, colour)
    trace = torch.where(draws[1] < 0.3, 0.06 * draws[2], torch.zeros_like(draws[1]))
    grain = torch.where(draws[1] > 0.7, 0.1 * draws[2], torch.zeros_like(draws[1]))
    return (colour + trace * (x - mean) + grain * torch.randn_like(x)).clamp(0, 1)


def _degraded(x: Tensor, kind: str, severity: Tensor) -> Tensor:
    if kind == "blur":
        sigma = 0.4 + 2.8 * severity
        return gaussian_blur(x, sigma, sigma, torch.zeros_like(sigma)).clamp(0, 1)
    if kind == "noise":
        return noise(x, (1.5 + 34 * severity) / 255)
    if kind == "jpeg":
        return jpeg(x, 92 - 84 * severity)
    factor = 1.1 + 2.9 * float(severity.mean())
    return rescale(x, factor, factor, groups=1)


def _coins(x: Tensor, share: float) -> Tensor:
    return torch.rand(len(x), device=x.device) < share


def _where(chosen: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], first, second)
