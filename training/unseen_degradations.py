"""Degradations that no judge's gradient is trained on, to judge it by.

The 0.1 judge saw medians and posterised pictures, but only as pictures of lower rank.
"""

import math

import numpy as np
from latent_map.files.recompressed import recompressed
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter, median_filter

from training.degradations import Pixels, RandomState


def motion_blur(pixels: Pixels, severity: float, rng: RandomState) -> Pixels:
    """Blur along a straight line of 3 to 13 pixels."""
    length, angle = 3 + 10 * severity, rng.uniform(0, math.pi)
    reach = math.ceil(length / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for along in np.linspace(-length / 2, length / 2, 64):
        row, column = reach + along * math.sin(angle), reach + along * math.cos(angle)
        top, left = math.floor(row), math.floor(column)
        for y, x in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if max(y, x) <= 2 * reach:
                kernel[y, x] += (1 - abs(row - y)) * (1 - abs(column - x))
    kernel /= kernel.sum()
    planes = [convolve(pixels[..., channel], kernel, mode="reflect") for channel in range(3)]
    return np.stack(planes, axis=-1)


def salt_and_pepper(pixels: Pixels, severity: float, rng: RandomState) -> Pixels:
    """Black and white points, 0.2 to 5 % of the pixels."""
    draw = rng.random(pixels.shape[:2])[..., None]
    share = 0.002 + 0.048 * severity
    return np.where(draw < share / 2, 0.0, np.where(draw > 1 - share / 2, 1.0, pixels))


def quantisation(pixels: Pixels, severity: float, _rng: RandomState) -> Pixels:
    """32 down to 5 grey levels per colour."""
    levels = round(31 * (4 / 31) ** severity)
    return np.round(pixels * levels) / levels


def chroma_noise(pixels: Pixels, severity: float, rng: RandomState) -> Pixels:
    """Blotches of colour two to four pixels wide, of even lightness."""
    grain = rng.standard_normal(pixels.shape)
    grain = gaussian_filter(grain, (1 + severity, 1 + severity, 0), mode="reflect")
    grain = (grain - grain.mean(-1, keepdims=True)) / grain.std()
    return pixels + (0.01 + 0.06 * severity) * grain


def smear(pixels: Pixels, severity: float, _rng: RandomState) -> Pixels:
    """A median over 3, 5 or 7 pixels a side, as of strong noise reduction."""
    side = (3, 5, 7)[min(2, int(3 * severity))]
    smoothed = median_filter(pixels, size=(side, side, 1), mode="reflect")
    return pixels + (0.4 + 0.6 * severity) * (smoothed - pixels)


def webp(pixels: Pixels, severity: float, _rng: RandomState) -> Pixels:
    """WebP compression at quality 80 down to 2."""
    image = Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))
    left = recompressed(image, round(80 - 78 * severity), "WEBP")
    return np.asarray(left, dtype=np.float32) / 255


UNSEEN = {
    "motion blur": motion_blur,
    "salt and pepper": salt_and_pepper,
    "quantisation": quantisation,
    "chroma noise": chroma_noise,
    "smear": smear,
    "webp": webp,
}
