"""A study's folder as the runner leaves it: three entrants, small pictures, pairs.csv."""

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
from latent_map.comparison.session_settings import SessionSettings
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ENTRANTS = ("gentle prior", "strong prior", "untouched")
SETTINGS = SessionSettings(seed=3, training=2, traps=2, repeats=0.1, break_every=8)


def make_study(folder: Path, pictures: int = 4, side: int = 48, entrants=ENTRANTS) -> Path:
    """Pairs of the first pictures; one more has results only, and is there to practise on."""
    chance = np.random.default_rng(1)
    for number in range(pictures + 1):
        picture = chance.integers(0, 256, (side, side, 3), np.uint8)
        for turn, entrant in enumerate(entrants):
            file = folder / "results" / entrant / f"picture {number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            texts = PngInfo()
            texts.add_text("made by", entrant)
            Image.fromarray(picture ^ np.uint8(turn)).save(file, pnginfo=texts)
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["pair", "rank", "picture", "model_a", "model_b", "d1"])
        for pair, (a, b) in enumerate(combinations(entrants, 2)):
            for number in range(pictures):
                rows.writerow([pair, number, f"picture {number}", a, b, 0.1])
    return folder
