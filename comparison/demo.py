"""The demonstration: a small study that needs neither a GPU, nor a file, nor a person.

Its photographs are made noisy, and its observers are simulated: they prefer the result that is
nearer to the photograph without noise. So its ranking shows what a study gives, and says nothing
of what people prefer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ..files.pictures import read_array, write_image
from ..files.written import check_folder, write_atomically
from .votes import SPOILT

PHOTOGRAPHS = Path(__file__).with_name("photographs")
NOISE = 14.0  # standard deviation, of 255
JND_PER_DB = 0.5  # how much better a simulated observer finds a result that is a decibel nearer
PEAK_POWER = 255.0**2
WORST = -10.0  # what it finds of a trap's spoilt picture
ROBOTS = 12
SESSION = "simulated"
STUDY = """\
# A demonstration: latent-map study demo. See docs/study.md for what can be said here.
folder = "."

[pictures]
folder = "photographs"
side = 0                          # as they are; the paper's is 512

[[entrant]]
name = "noisy input"
untouched = true

[[entrant]]
name = "pocket"                   # the embedded judge
prior = "pocket"
settings = { check_gradient = false }

[[entrant]]
name = "NIQE"
prior = "niqe"
preset = "strong"
settings = { iterations = 5, learning_rate = 0.05, check_gradient = false }

[[entrant]]
name = "BRISQUE in pixels"        # the paper's baseline: without a diffusion model, Eq. (2)
prior = "brisque-cpp"
preset = "pixel_map"
settings = { iterations = 12, lam = 3 }

[selection]
measure = "ms_ssim"               # dists, the default, needs a file; this one does not
features = "colours_and_edges"    # nor do these; vgg16 is the default
per_pair = 5
random = 1

[session]
training = 2
traps = 3
"""


def write_demo(folder: Path) -> Path:
    """Write the demonstration's study file and its noisy photographs, unless they are there.

    Returns: the study file.
    Raises: ValueError if the folder holds another study.
    """
    study = folder / "STUDY.toml"
    if study.exists() and study.read_text(encoding="utf-8") != STUDY:
        raise ValueError(f"{study} is another study: choose another folder")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: choose a folder")
    if not study.exists() and folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: choose another folder")
    noisy = folder / "photographs"
    check_folder(folder)
    check_folder(noisy)
    write_atomically(study, STUDY.encode())  # first: by it an interrupted demonstration is known
    for file in sorted(PHOTOGRAPHS.glob("*.png")):
        if not (noisy / file.name).exists():
            write_image(noisy / file.name, _with_noise(file))
    return study


def _with_noise(file: Path) -> Image.Image:
    chance = np.random.default_rng(list(file.stem.encode()))
    clean = _pixels(file)
    noisy = clean + chance.normal(0, NOISE, clean.shape)
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def simulated_quality(result: Callable[[str, str], Path]) -> Callable[[str, str], float]:
    """How good a simulated observer finds a result, in just objectionable differences.

    Args:
        result: (picture, entrant) to a result's file.
    Returns: the same, to its nearness to the photograph without noise: PSNR, in steps of 2 dB.
    """

    @functools.cache
    def quality(picture: str, entrant: str) -> float:
        if entrant == SPOILT:
            return WORST
        error = _pixels(result(picture, entrant)) - _pixels(PHOTOGRAPHS / f"{picture}.png")
        power = max(float((error**2).mean()), 1e-3)
        return JND_PER_DB * 10 * math.log10(PEAK_POWER / power)

    return quality


def _pixels(file: Path) -> np.ndarray:
    return read_array(file).astype(float)
