"""What changed from one picture to another, in words: noise, detail, colours, brightness."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .restraints import coarse

BT601 = (0.299, 0.587, 0.114)  # luma
CB, CR = 0.5 / (1 - BT601[2]), 0.5 / (1 - BT601[0])  # of blue - luma and red - luma
NORMAL_MEDIAN = 0.6745  # median modulus of a normal variable of deviation 1
MID_BAND = (1, 3)  # between these wavelet levels: structure of about 4 to 16 pixels
STRUCTURE_LEVELS = 4  # over which a neighbourhood is averaged: some 30 pixels across
STRUCTURE_OVER_NOISE = 2.0  # energies; noise alone gets there in one place of twenty thousand
STRUCTURE_FLOOR = 1.0  # grey levels: flatter than that is rounding, not structure


class Steps(NamedTuple):
    """From where on a change is called slight, and from where on clear."""

    slight: float
    clear: float


# Grey levels of noise: rounding to 8 bits is noise of 0.29 levels, and 1.5 levels, about 1 % of
# the brightness, is what is first seen on an even area.
NOISE_STEPS = Steps(0.5, 1.5)
# Of the larger of both, besides: a change of strong noise by less than a tenth is not seen.
NOISE_SHARE_STEPS = Steps(0.1, 0.3)
# Share of the contrast: a picture brighter by 5 % has that much more, and no more detail; contrasts
# are told apart from 10 to 15 % on (Legge, JOSA 71, 1981).
DETAIL_STEPS = Steps(0.06, 0.12)
# Levels of Cb and Cr, each about one unit of CIELAB: 1 is the unit's definition of a just visible
# difference, and 4 is seen without the other picture beside it.
COLOUR_STEPS = Steps(1.0, 4.0)
# Levels of luma: 1.5 is some 1 % of the brightness, Weber's share, and 6 four times that.
BRIGHTNESS_STEPS = Steps(1.5, 6.0)


class Changes(NamedTuple):
    """What was measured, in levels of 0 to 255 unless said.

    Attributes:
        noise_before, noise_after: standard deviations.
        detail: contrast of the result's structure over the input's, less 1.
        colours: how far colours moved at equal brightness, mean length in Cb and Cr.
        colourfulness: by how much their mean distance from grey grew.
        brightness: by how much mean luma grew.
    """

    noise_before: float
    noise_after: float
    detail: float
    colours: float
    colourfulness: float
    brightness: float


def what_changed(before: Tensor, after: Tensor) -> str:
    """Noise, detail, colours and brightness in one line of words; see `in_words`."""
    return in_words(measure_changes(before, after))


@torch.no_grad()
def measure_changes(before: Tensor, after: Tensor) -> Changes:
    """Simple quantities of two pictures, and how they differ.

    Args:
        before, after: RGB in [0, 1], (1, 3, H, W), sides of 2 or more.
    Returns: the changes; all are 0 for equal pictures, but for the noise itself.
    Raises: ValueError for other shapes.
    """
    if before.shape != after.shape or before.shape[:2] != (1, 3) or min(before.shape[-2:]) < 2:
        raise ValueError(
            f"pictures of shape {tuple(before.shape)} and {tuple(after.shape)}: both must be "
            "(1, 3, H, W), of 2 pixels a side or more"
        )
    before, after = (255 * image.detach().float().clamp(0, 1) for image in (before, after))
    noises = [noise_deviation(image) for image in (before, after)]
    lumas = [_luma(image) for image in (before, after)]
    moved, grown = _colour_change(before, after)
    return Changes(
        *noises,
        detail=_contrast_change(lumas[0], lumas[1], noises[0], noises[1]),
        colours=moved,
        colourfulness=grown,
        brightness=float(lumas[1].mean() - lumas[0].mean()),
    )


def in_words(changes: Changes) -> str:
    """As in "noise: clearly less; detail: slightly more; colours: held; brightness: held"."""
    noise = changes.noise_after - changes.noise_before
    share = noise / max(changes.noise_before, changes.noise_after, 1e-9)
    steps = min(_step(noise, NOISE_STEPS), _step(share, NOISE_SHARE_STEPS))
    said = {
        "noise": _word(steps, noise),
        "detail": _word(_step(changes.detail, DETAIL_STEPS), changes.detail),
        "colours": _colour_word(changes),
        "brightness": _word(_step(changes.brightness, BRIGHTNESS_STEPS), changes.brightness),
    }
    return "; ".join(f"{name}: {word}" for name, word in said.items())


def noise_deviation(image: Tensor) -> float:
    """Standard deviation of white noise in a picture, root mean square over its channels.

    From the median modulus of the finest diagonal Haar coefficients, which edges hardly move. Fine
    texture over more than half of the picture counts as noise.

    Args:
        image: (1, C, H, W), sides of 2 or more, in the unit of the result.
    Source: Donoho and Johnstone, Biometrika 81(3), 1994.
    """
    height, width = (side - side % 2 for side in image.shape[-2:])
    image = image[..., :height, :width]
    rows = image[..., ::2, :] - image[..., 1::2, :]
    diagonal = (rows[..., ::2] - rows[..., 1::2]) / 2
    medians = diagonal.abs().flatten(2).median(-1).values / NORMAL_MEDIAN
    return float(medians.square().mean().sqrt())


def _contrast_change(
    before: Tensor, after: Tensor, noise_before: float, noise_after: float
) -> float:
    """Growth of the mid band's contrast where the input has structure; luma (1, 1, H, W)."""
    energies = [_local_energy(luma) for luma in (before, after)]
    # Of white noise in three channels, luma has less.
    gain = _noise_gain() * sum(weight**2 for weight in BT601)
    noises = [gain * deviation**2 for deviation in (noise_before, noise_after)]
    floor = STRUCTURE_OVER_NOISE * noises[0] + STRUCTURE_FLOOR**2
    structure = energies[0] > floor
    if not structure.any():
        return 0.0
    contrasts = [
        math.sqrt(max(0.0, float(energy[structure].mean()) - noise))
        for energy, noise in zip(energies, noises, strict=True)
    ]
    return contrasts[1] / contrasts[0] - 1


def _mid_band(plane: Tensor) -> Tensor:
    fine, broad = MID_BAND
    return coarse(plane, fine) - coarse(plane, broad)


def _local_energy(luma: Tensor) -> Tensor:
    return coarse(_mid_band(luma).square(), STRUCTURE_LEVELS)


@lru_cache(maxsize=1)
def _noise_gain() -> float:
    """Energy in the mid band of white noise of variance 1."""
    reach = 2 ** (MID_BAND[1] + 2)
    impulse = F.pad(torch.ones(1, 1, 1, 1, dtype=torch.float64), (reach,) * 4)
    return float(_mid_band(impulse).square().sum())


def _colour_change(before: Tensor, after: Tensor) -> tuple[float, float]:
    """How far coarse colours moved, and how much further from grey they are."""
    # At equal brightness: a picture that is only brighter has the same colours.
    share = (_luma(before).mean() + 1) / (_luma(after).mean() + 1)
    chromas = [coarse(_chroma(image)) for image in (before, share * after)]
    moved = (chromas[1] - chromas[0]).norm(dim=1).mean()
    return float(moved), float((chromas[1].norm(dim=1) - chromas[0].norm(dim=1)).mean())


def _luma(image: Tensor) -> Tensor:
    return torch.einsum("c,bchw->bhw", image.new_tensor(BT601), image)[:, None]


def _chroma(image: Tensor) -> Tensor:
    luma = _luma(image)
    return torch.cat((CB * (image[:, 2:] - luma), CR * (image[:, :1] - luma)), 1)


def _step(change: float, steps: Steps) -> int:
    """0, 1 for a slight change, 2 for a clear one."""
    return (abs(change) >= steps.slight) + (abs(change) >= steps.clear)


def _word(step: int, change: float) -> str:
    direction = "more" if change > 0 else "less"
    return ("held", f"slightly {direction}", f"clearly {direction}")[step]


def _colour_word(changes: Changes) -> str:
    """Paler and stronger colours are less and more; any other change is a shift."""
    step = _step(changes.colours, COLOUR_STEPS)
    if abs(changes.colourfulness) > changes.colours / 2:
        return _word(step, changes.colourfulness)
    return ("held", "slightly shifted", "clearly shifted")[step]
