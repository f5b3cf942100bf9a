"""Families of pictures whose order is certain: a photograph, degraded, and made worse by art."""

import math

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter, median_filter

from training.degradations import DEGRADATIONS, KINDS, degrade, randomly_degrade
from training.photographs import RandomCrops

GRID_SHIFT = 8  # pixels: families are cut off the grid of their own JPEG blocks

KIND_SHARES = (0.2, 0.2, 0.15, 0.45)  # JPEG is by far the last to be learnt

CLEAN, MILD, SEVERE, FURTHER, INVENTED, MIXED, BETWEEN = range(7)
# (better, worse) within a family; INVENTED is made from CLEAN.
ORDER = (
    (CLEAN, MILD),
    (MILD, SEVERE),
    (CLEAN, SEVERE),
    (MILD, FURTHER),
    (CLEAN, FURTHER),
    (CLEAN, INVENTED),
    (CLEAN, MIXED),
    (CLEAN, BETWEEN),
    (BETWEEN, MIXED),
)
# What makes a picture worse beyond doubt: blurring noise, say, may please.
WORSENS = {
    "blur": ("downscale", "noise", "jpeg"),
    "downscale": ("noise", "jpeg"),
    "noise": ("jpeg",),
    "jpeg": ("downscale", "noise"),
}


def over_sharpen(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    radius = rng.uniform(0.6, 2.5)
    detail = pixels - gaussian_filter(pixels, (radius, radius, 0), mode="reflect")
    return pixels + rng.uniform(1, 4) * detail


def wrong_contrast(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factor = rng.uniform(1.3, 2.2) if rng.random() < 0.7 else rng.uniform(0.4, 0.75)
    mean = pixels.mean()
    return mean + factor * (pixels - mean)


def over_saturate(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grey = pixels.mean(-1, keepdims=True)
    # A grey photograph has no colour to exaggerate: the small cast keeps the order certain.
    return grey + rng.uniform(1.6, 3) * (pixels - grey) + rng.uniform(-0.03, 0.03, 3)


def colour_cast(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cast = rng.normal(size=3)
    cast -= cast.mean()
    return pixels + rng.uniform(0.06, 0.25) * cast / np.linalg.norm(cast)


def ringing(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep the low frequencies with a hard edge and exaggerate the band below the edge."""
    spectrum = np.fft.rfft2(pixels, axes=(0, 1))
    rows, columns = pixels.shape[:2]
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    edge = rng.uniform(0.12, 0.35)
    gain = np.where(radius < edge, 1 + rng.uniform(0.3, 1.5) * (radius > 0.7 * edge), 0)
    return np.fft.irfft2(spectrum * gain[..., None], s=(rows, columns), axes=(0, 1))


def texture(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a sinusoid or a checkerboard, grey or coloured, everywhere or in patches."""
    rows, columns = np.indices(pixels.shape[:2], dtype=np.float32)
    if rng.random() < 0.4:
        period = rng.choice((1, 2, 4))
        wave = 1 - 2 * ((rows // period + columns // period) % 2)
    else:
        angle, period = rng.uniform(0, math.pi), math.exp(rng.uniform(math.log(2), math.log(24)))
        across = math.cos(angle) * rows + math.sin(angle) * columns
        wave = np.sin(2 * math.pi * across / period)
    colour = np.ones(3) if rng.random() < 0.5 else rng.normal(size=3)
    if rng.random() < 0.5:
        wave = wave * (gaussian_filter(rng.normal(size=wave.shape), 12) > 0)
    return pixels + rng.uniform(0.02, 0.12) * wave[..., None] * colour


def smooth_away(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take the texture away and keep the edges: median, bilateral-like, or posterised."""
    kind = rng.integers(3)
    if kind == 0:
        return median_filter(pixels, size=(rng.choice((3, 5, 7)),) * 2 + (1,), mode="reflect")
    if kind == 1:
        image = Image.fromarray((pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8))
        image = image.filter(ImageFilter.ModeFilter(int(rng.choice((3, 5, 7)))))
        return np.asarray(image, dtype=np.float32) / 255
    levels = rng.integers(5, 16)
    return np.round(gaussian_filter(pixels, (1, 1, 0), mode="reflect") * levels) / levels


INVENTIONS = (
    over_sharpen,
    over_sharpen,
    wrong_contrast,
    over_saturate,
    colour_cast,
    ringing,
    texture,
    smooth_away,
)


def family(photograph: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """One photograph in the versions CLEAN ... BETWEEN, and how severely SEVERE is degraded.

    Returns: float32 (7, H, W, 3) in [0, 1]; the severity in [0, 1].
    """
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    mild, severe = rng.uniform(0, 0.75), rng.uniform(0.15, 1)
    severe = min(1.0, max(severe, mild + 0.15))
    other = str(rng.choice(WORSENS[kind]))
    first = degrade(photograph, {kind: mild}, rng)
    invented = INVENTIONS[rng.integers(len(INVENTIONS))](photograph, rng)
    mixed = randomly_degrade(photograph, rng, clean=0).pixels
    share = rng.uniform(0.3, 0.8)
    pictures = (
        photograph,
        first,
        degrade(photograph, {kind: severe}, rng),
        DEGRADATIONS[other](first, rng.uniform(0.3, 1), rng),
        invented,
        mixed,
        share * photograph + (1 - share) * mixed,
    )
    return np.stack(pictures).clip(0, 1).astype(np.float32), severe


class Families(RandomCrops):
    """Endless families, float32 (7, 3, size, size) in [0, 1], with the severity of SEVERE."""

    margin = GRID_SHIFT

    def item(self, crop: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, float]:
        """A family of one photograph."""
        pictures, severity = family(crop, rng)
        top, left = rng.integers(GRID_SHIFT, size=2)
        pictures = pictures[:, top : top + self.size, left : left + self.size]
        return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))), severity
