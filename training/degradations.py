"""Random degradations of photographs: blur, downscaling, noise, JPEG."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from latent_map.files.recompressed import recompressed
from PIL import Image
from scipy.ndimage import gaussian_filter

RandomState = np.random.Generator
Pixels = np.ndarray  # float32 RGB in [0, 1], shape (H, W, 3)

KINDS = ("blur", "downscale", "noise", "jpeg")


class Degraded(NamedTuple):
    """A degraded photograph and what was done to it: {kind: severity in [0, 1]}."""

    pixels: Pixels
    severities: dict[str, float]


def blur(pixels: Pixels, severity: float, _rng: RandomState) -> Pixels:
    """Gaussian blur with a standard deviation of 0.4 to 3 pixels."""
    sigma = 0.4 + 2.6 * severity
    return gaussian_filter(pixels, (sigma, sigma, 0), mode="reflect")


def downscale(pixels: Pixels, severity: float, _rng: RandomState) -> Pixels:
    """Downscaling by 1.2 to 4 and bicubic upscaling to the old size."""
    height, width = pixels.shape[:2]
    factor = 1.2 + 2.8 * severity
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    planes = []
    for channel in range(3):
        plane = Image.fromarray(pixels[..., channel], mode="F")
        plane = plane.resize(small, Image.Resampling.BICUBIC)
        planes.append(np.asarray(plane.resize((width, height), Image.Resampling.BICUBIC)))
    return np.stack(planes, axis=-1).clip(0, 1)


def noise(pixels: Pixels, severity: float, rng: RandomState) -> Pixels:
    """Gaussian noise, standard deviation 2 to 30 of 255, coloured or (one in four) grey."""
    sigma = (2 + 28 * severity) / 255
    channels = 1 if rng.random() < 0.25 else 3
    grain = rng.standard_normal((*pixels.shape[:2], channels), dtype=np.float32)
    return (pixels + sigma * grain).clip(0, 1)


def jpeg(pixels: Pixels, severity: float, _rng: RandomState) -> Pixels:
    """JPEG compression at quality 90 down to 10."""
    image = Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))
    return np.asarray(recompressed(image, round(90 - 80 * severity)), dtype=np.float32) / 255


DEGRADATIONS: dict[str, Callable[[Pixels, float, RandomState], Pixels]] = {
    "blur": blur,
    "downscale": downscale,
    "noise": noise,
    "jpeg": jpeg,
}


def degrade(pixels: Pixels, severities: dict[str, float], rng: RandomState) -> Pixels:
    """Apply the named degradations, always in the order blur, downscale, noise, JPEG.

    Args:
        pixels: RGB in [0, 1], shape (H, W, 3), float32.
        severities: {kind: severity in [0, 1]}; an empty dict returns the photograph itself.
    Returns: float32 RGB in [0, 1], same shape.
    Raises: ValueError for an unknown kind.
    """
    unknown = set(severities) - set(KINDS)
    if unknown:
        raise ValueError(f"unknown degradations {sorted(unknown)}: choose from {', '.join(KINDS)}")
    for kind in KINDS:
        if kind in severities:
            pixels = DEGRADATIONS[kind](pixels, severities[kind], rng)
    return np.ascontiguousarray(pixels, dtype=np.float32)


def random_severities(rng: RandomState, clean: float = 0.08) -> dict[str, float]:
    """Draw nothing (with probability `clean`) or one to three kinds, mild ones more often."""
    if rng.random() < clean:
        return {}
    kinds = rng.choice(KINDS, size=rng.choice((1, 2, 3), p=(0.45, 0.4, 0.15)), replace=False)
    return {str(kind): float(rng.random() ** 1.3) for kind in kinds}


def randomly_degrade(pixels: Pixels, rng: RandomState, clean: float = 0.08) -> Degraded:
    """Degrade a photograph by a random mixture of kinds."""
    severities = random_severities(rng, clean)
    return Degraded(degrade(pixels, severities, rng), severities)
