"""Pairs with an obvious answer: a result beside a badly worsened copy of itself.

They tell observers who look from those who do not. The instructions say that there are such pairs,
and their copies lie in the session's folder for everyone to see.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.pictures import read_array, write_image
from ..files.recompressed import recompressed

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)
BLUR = 1 / 64  # radius, of the shorter side: 8 pixels at 512
JPEG_QUALITY = 8
OBVIOUS = 0.02  # detail lost, as a standard deviation: less is hard to see, as in an empty sky


def worsened(image: Image.Image) -> Image.Image:
    """A copy that nobody would prefer: blurred, then compressed until it falls into blocks.

    Args:
        image: RGB.
    Returns: RGB, of the same size.
    """
    from PIL import ImageFilter

    radius = max(2.0, BLUR * min(image.size))
    return recompressed(image.filter(ImageFilter.GaussianBlur(radius)), JPEG_QUALITY)


def make_traps(
    candidates: Sequence[tuple[str, str]],
    count: int,
    result: Callable[[str, str], Path],
    place: Callable[[str, str], Path],
    chance: random.Random,
) -> list[tuple[str, str]]:
    """Write worsened copies of some results, of different pictures as far as possible.

    Args:
        candidates: (scene, entrant) of results.
        count: how many are wanted.
        result, place: (scene, entrant) to the result's file, and to where its copy goes.
    Returns: those of which there is a copy; fewer than asked, with a warning, if too few results
        change enough to be obvious.
    """
    waiting = chance.sample(candidates, len(candidates))
    made: list[tuple[str, str]] = []
    used: set[str] = set()
    while waiting and len(made) < count:
        fresh = [each for each in waiting if each[0] not in used] or waiting
        chosen = fresh[0]
        waiting.remove(chosen)
        used.add(chosen[0])
        if _make(result(*chosen), place(*chosen)):
            made.append(chosen)
    if len(made) < count:
        log.warning("%d of %d traps: of those few, some are shown more than once", len(made), count)
    return made


def _make(source: Path, target: Path) -> bool:
    """Whether the copy is obviously worse; if so, it is written."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(read_array(source))
    copy = worsened(image)
    lost = (np.asarray(image, np.float32) - np.asarray(copy, np.float32)) / 255
    if lost.std(axis=(0, 1)).mean() < OBVIOUS:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, copy)
    return True
