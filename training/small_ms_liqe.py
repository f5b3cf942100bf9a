"""Prove the training of MS-LIQE on a small scale: a tiny CLIP, synthetic distortions, a CPU.

    python -m training.small_ms_liqe PHOTOS --out runs/small_ms_liqe

Photographs (training/photographs.py) are cut into small pictures and distorted: one dataset per
kind of distortion, whose "opinion" is minus the severity on a scale of its own. A CLIP with random
weights is then trained by `latent-map train-ms-liqe`, and the correlations with the opinions of the
validation pictures are printed for every epoch; epoch 0 is before any training. Validation pictures
are cut from photographs that no training picture was cut from: the held-out ones of PHOTOS, or
those in the folder --validation.

Random weights may rank pictures by luck, either way round. So of --draws CLIPs the one is trained
that ranks the validation pictures most nearly by chance.

What it reaches is in docs/ms_liqe.md.
"""

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from latent_map.__main__ import main as latent_map
from latent_map.files.pictures import read_array
from latent_map.iqa_priors.clip.liqe import QUALITY_PROMPTS
from latent_map.iqa_priors.clip.model import Clip, ClipShape, TextShape, VisionShape, initialise
from latent_map.iqa_priors.clip.tokens import tokenise
from latent_map.iqa_priors.training.ms_liqe import LOG, save_ms_liqe, validate
from latent_map.iqa_priors.training.opinion_data import Dataset, read_opinions, read_rgb
from PIL import Image

from training.degradations import DEGRADATIONS, Pixels, RandomState
from training.photographs import HELD_OUT, load_photographs, random_crops

SIDE, CROP, PATCH, WIDTH, LAYERS, TEXT_WIDTH = 96, 32, 4, 64, 2, 16
VALIDATION, BATCH = 40, 6  # pictures of each kind
TEMPERATURE, RATE = 1 / 8, 1e-3


def impulse(pixels: Pixels, severity: float, rng: RandomState) -> Pixels:
    """Salt and pepper: 0.2 to 20 of 100 pixels turn black or white."""
    drawn = rng.random(pixels.shape[:2])
    hit = drawn < 0.002 * 100**severity
    return np.where(hit[..., None], (drawn < 0.001 * 100**severity)[..., None], pixels)


def speckle(pixels: Pixels, severity: float, rng: RandomState) -> Pixels:
    """Noise in proportion to the pixel: standard deviation 0.03 to 0.5 of it."""
    grain = rng.standard_normal(pixels.shape, dtype=np.float32)
    return (pixels * (1 + 0.03 * (0.5 / 0.03) ** severity * grain)).clip(0, 1)


KINDS: dict[str, Callable[[Pixels, float, RandomState], Pixels]] = {
    **DEGRADATIONS,
    "impulse": impulse,
    "speckle": speckle,
}
SCALES = {"noise": 5.0, "impulse": 100.0, "speckle": 1.0}  # of the opinions; 9 for other kinds


def write_dataset(
    out: Path, kind: str, part: str, photographs: list, count: int, seed: int
) -> None:
    """Distort `count` pictures and list them with their scores, as LIQE's splits do."""
    rng = np.random.default_rng((seed, list(KINDS).index(kind), part == "train"))
    folder = out / kind / part
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, crop in zip(range(count), random_crops(photographs, SIDE, rng), strict=False):
        severity = float(rng.uniform())
        pixels = KINDS[kind](np.ascontiguousarray(crop), severity, rng)
        name = f"{part}/{number:04d}.png"
        Image.fromarray((pixels * 255 + 0.5).astype(np.uint8)).save(out / kind / name)
        lines.append(f"{name}\t{SCALES.get(kind, 9) * (1 - severity):.4f}\t{kind}\tinvalid")
    (out / f"{kind}_{part}.txt").write_text("\n".join(lines) + "\n")


def some_crops(out: Path, kinds: list[str]) -> torch.Tensor:
    """Middle crops (B, 3, CROP, CROP) of the first training pictures of each kind."""
    files = [f for kind in kinds for f in sorted((out / kind / "train").glob("*.png"))[:32]]
    edge = (SIDE - CROP) // 2
    return torch.cat([read_rgb(f)[..., edge : edge + CROP, edge : edge + CROP] for f in files])


def random_clip(out: Path, kinds: list[str]) -> Clip:
    """A small CLIP with random weights that tells texts and the training pictures apart."""
    text = TextShape(TEXT_WIDTH, 1, WIDTH)
    clip = Clip(ClipShape(VisionShape(WIDTH, LAYERS, WIDTH, PATCH, CROP), text))
    pictures = some_crops(out, kinds)
    return initialise(clip, TEMPERATURE, texts=tokenise(QUALITY_PROMPTS), pictures=pictures)


def validation_pictures(out: Path, kinds: list[str]) -> tuple[Dataset, ...]:
    """The pictures to validate on, without any to train on."""
    lists = [read_opinions(out / f"{kind}_validation.txt", out / kind) for kind in kinds]
    return tuple(Dataset(k, (), part, BATCH) for k, part in zip(kinds, lists, strict=True))


def luck(clip: Clip, datasets: tuple[Dataset, ...]) -> float:
    """How far from chance an untrained CLIP ranks the pictures of any kind, from 0 to 1."""
    found = validate(clip, tokenise(QUALITY_PROMPTS), datasets)
    return max(abs(found[f"srcc {dataset.name}"]) for dataset in datasets)


def validation_photographs(photos: Path, others: Path | None) -> list[np.ndarray]:
    """The held-out photographs, or all pictures of another folder."""
    if others is None:
        return load_photographs(photos, held_out=True)
    files = [f for f in sorted(others.iterdir()) if f.suffix in (".png", ".jpg", ".webp")]
    return [read_array(file) for file in files]


def prepare(options: argparse.Namespace) -> Path:
    """Write pictures, lists, a CLIP with random weights and the configuration; returns the last."""
    out = options.out
    for read in (options.photos, options.validation):
        if read is not None and out.resolve() in (read.resolve(), *read.resolve().parents):
            raise ValueError(f"{read} lies in {out}, which is written: choose another --out")
    sources = {
        "train": (load_photographs(options.photos), options.pictures),
        "validation": (validation_photographs(options.photos, options.validation), VALIDATION),
    }
    for kind in options.kinds:
        for part, (photographs, count) in sources.items():
            write_dataset(out, kind, part, photographs, count, options.seed)
    torch.manual_seed(options.seed)
    clips = [random_clip(out, options.kinds) for _ in range(options.draws)]
    to_rank = validation_pictures(out, options.kinds)
    save_ms_liqe(out / "clip.safetensors", min(clips, key=lambda clip: luck(clip, to_rank)), {})
    datasets = [
        {"name": kind, "images": kind, "batch": BATCH}
        | {part: f"{kind}_{part}.txt" for part in sources}
        for kind in options.kinds
    ]
    training = {
        **{"epochs": options.epochs, "steps": options.steps},
        **{"rate": options.rate, "clip": options.clip, "seed": options.seed},
    }
    config = {"clip": "clip.safetensors", "out": "run", "training": training, "datasets": datasets}
    (out / "config.json").write_text(json.dumps(config, indent=1))
    return out / "config.json"


def main() -> int:
    """Write everything that the command needs, run it, and print its log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "photos", type=Path, help=f"folder; names that begin with {', '.join(HELD_OUT)} are ranked"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/small_ms_liqe"))
    parser.add_argument("--validation", type=Path, help="folder of others to rank instead")
    parser.add_argument("--kinds", nargs="+", default=list(SCALES), choices=list(KINDS))
    parser.add_argument("--pictures", type=int, default=400, help="to train on, of each kind")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--clip", type=float, default=0.0, help="largest norm of the gradient")
    parser.add_argument("--draws", type=int, default=8, help="random weights to choose from")
    parser.add_argument("--seed", type=int, default=0, help="of pictures, weights and order")
    options = parser.parse_args()
    failure = latent_map(["train-ms-liqe", str(prepare(options))])
    if not failure:
        with (options.out / "run" / LOG).open() as file:
            for row in csv.DictReader(file):
                print("  ".join(f"{k} {v}" for k, v in row.items() if v and "plcc" not in k))
    return failure


if __name__ == "__main__":
    raise SystemExit(main())
