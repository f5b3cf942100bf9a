"""Try the training of MS-LIQE on a small scale: a tiny CLIP, synthetic distortions, a CPU.

    python -m training.small_ms_liqe PHOTOS --out runs/small_ms_liqe
    python -m latent_map train-ms-liqe runs/small_ms_liqe/config.json

The first line cuts the photographs (training/photographs.py) into small pictures and distorts them,
one dataset per kind of distortion, whose "opinion" is minus the severity on a scale of its own; it
writes the lists, a CLIP with random weights and the configuration. Validation pictures are cut from
photographs that no training picture was cut from.

What it reaches is in docs/ms_liqe.md.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from latent_map.iqa_priors.clip_model import (
    Clip,
    ClipShape,
    TextShape,
    VisionShape,
    initialise,
)
from latent_map.iqa_priors.clip_tokens import tokenise
from latent_map.iqa_priors.liqe import QUALITY_PROMPTS
from latent_map.iqa_priors.ms_liqe_training import save_ms_liqe
from latent_map.iqa_priors.opinion_data import read_rgb
from PIL import Image

from training.degradations import degrade
from training.photographs import load_photographs, random_crops

KINDS = ("blur", "noise", "jpeg")
SIDE, CROP, PATCH, WIDTH, LAYERS = 64, 32, 4, 64, 2
TRAIN, VALIDATION = 400, 40  # pictures of each kind


def write_dataset(
    out: Path, kind: str, part: str, photographs: list, count: int, seed: int
) -> None:
    """Distort `count` pictures and list them with their scores, as LIQE's splits do."""
    rng = np.random.default_rng((seed, len(photographs)))
    folder = out / kind / part
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, crop in zip(range(count), random_crops(photographs, SIDE, rng), strict=False):
        severity = float(rng.uniform())
        pixels = degrade(np.ascontiguousarray(crop), {kind: severity}, rng)
        name = f"{part}/{number:04d}.png"
        Image.fromarray((pixels * 255 + 0.5).astype(np.uint8)).save(out / kind / name)
        lines.append(f"{name}\t{100 * (1 - severity):.3f}\t{kind}\tinvalid")
    (out / f"{kind}_{part}.txt").write_text("\n".join(lines) + "\n")


def some_crops(out: Path) -> torch.Tensor:
    """Middle crops (B, 3, CROP, CROP) of the first training pictures of each kind."""
    files = [f for kind in KINDS for f in sorted((out / kind / "train").glob("*.png"))[:32]]
    edge = (SIDE - CROP) // 2
    return torch.cat([read_rgb(f)[..., edge : edge + CROP, edge : edge + CROP] for f in files])


def main() -> None:
    """Write everything that the command needs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/small_ms_liqe"))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    for part, count, held_out in (("train", TRAIN, False), ("validation", VALIDATION, True)):
        photographs = load_photographs(options.photos, held_out)
        for seed, kind in enumerate(KINDS):
            write_dataset(options.out, kind, part, photographs, count, seed)
    torch.manual_seed(0)
    text = TextShape(WIDTH, 1, WIDTH)
    clip = Clip(ClipShape(VisionShape(WIDTH, LAYERS, WIDTH, PATCH, CROP), text))
    initialise(clip, texts=tokenise(QUALITY_PROMPTS), pictures=some_crops(options.out))
    save_ms_liqe(options.out / "clip.safetensors", clip, {})
    datasets = [
        {"name": kind, "images": kind, "batch": 6}
        | {part: f"{kind}_{part}.txt" for part in ("train", "validation")}
        for kind in KINDS
    ]
    training = {"epochs": options.epochs, "steps": options.steps, "rate": 1e-3, "clip": 1.0}
    config = {"clip": "clip.safetensors", "out": "run", "training": training, "datasets": datasets}
    (options.out / "config.json").write_text(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
