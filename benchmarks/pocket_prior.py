"""How well the pocket prior ranks severities, and what climbing it does to a picture.

    python -m benchmarks.pocket_prior --photos ../shared/data/photos_test/pristine --json FILE

Prints a Markdown table. The climb is the hardest one there is, in pixels and without any diffusion
model or fidelity term: the method itself is tamer.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from latent_map.fidelity.pixel import psnr
from latent_map.iqa_priors import pocket
from latent_map.iqa_priors.correlation import srcc
from torch import Tensor

from training.degradations import KINDS, degrade

from .pairs import save_json
from .photographs import as_tensor, central_crop, read_photograph

SEVERITIES = tuple(np.linspace(0, 1, 6))
GATES = {"blur": 0.9, "noise": 0.9, "downscale": 0.9, "jpeg": 0.75}
CLIMB_STEPS = 30
STRIDE = 0.5 / 255  # root mean square of a step: half a grey level
STARTS: dict[str, dict[str, float]] = {
    "clean": {},
    "blur": {"blur": 0.4},
    "noise": {"noise": 0.5},
    "downscale": {"downscale": 0.4},
    "jpeg": {"jpeg": 0.7},
    "mixed": {"blur": 0.2, "noise": 0.2, "jpeg": 0.5},
}

Quality = Callable[[Tensor], Tensor]


def read_crops(folder: Path, size: int, count: int) -> list[np.ndarray]:
    """Centre crops of the folder's first pictures by name, float32 RGB in [0, 1]."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".png", ".webp", ".jpg")]
    if not files:
        raise FileNotFoundError(f"no pictures (png, webp, jpg) in {folder}")
    return [central_crop(read_photograph(file), size, size) for file in files[:count]]


def rank_accuracy(quality: Quality, crops: list[np.ndarray], kind: str) -> float:
    """Mean within-photograph rank correlation between quality and faintness of one kind."""
    correlations = []
    for index, crop in enumerate(crops):
        rng = np.random.default_rng((7, index))
        versions = [as_tensor(degrade(crop, {kind: severity}, rng)) for severity in SEVERITIES]
        scores = [float(quality(version)) for version in versions]
        correlations.append(srcc(scores, [-s for s in SEVERITIES]))
    return float(np.mean(correlations))


def climb(quality: Quality, start: Tensor) -> tuple[Tensor, Tensor]:
    """Ascend in pixels by steps of one length: the picture reached, and the first gradient."""
    x, gradients = start, []
    for _ in range(CLIMB_STEPS):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(quality(x).sum(), x)
        gradients.append(gradient)
        x = (x + STRIDE * gradient / gradient.square().mean().sqrt().clamp_min(1e-20)).clamp(0, 1)
    return x.detach(), gradients[0]


def climbs(quality: Quality, crops: list[np.ndarray], severities: dict[str, float]) -> dict:
    """Climb from every crop, degraded by `severities`; means over the crops.

    The PSNR is against the clean crop; from a clean start it has no beginning (None). `cosine` is
    that of the first gradient with the way to the clean crop.
    """
    rows = []
    for index, crop in enumerate(crops):
        clean = as_tensor(crop)
        start = as_tensor(degrade(crop, severities, np.random.default_rng((8, index))))
        reached, gradient = climb(quality, start)
        cosine = torch.cosine_similarity(gradient.flatten(1), (clean - start).flatten(1))
        rows.append(
            (
                float(quality(start)),
                float(quality(reached)),
                psnr(start, clean),
                psnr(reached, clean),
                float(cosine),
            )
        )
    means = dict(
        zip(("q", "q_climbed", "psnr", "psnr_climbed", "cosine"), np.mean(rows, 0), strict=True)
    )
    if not severities:
        means |= {"psnr": None, "cosine": None}
    return {k: v if v is None else float(v) for k, v in means.items()}


def cost(metric: Quality, size: int = 384) -> float:
    """CPU seconds of a score and its gradient, one thread."""
    x = torch.rand(1, 3, size, size, requires_grad=True)
    torch.autograd.grad(metric(x).sum(), x)
    begun = time.process_time()
    for _ in range(3):
        torch.autograd.grad(metric(x).sum(), x)
    return (time.process_time() - begun) / 3


def measure(photos: Path, size: int, count: int, climbed: int) -> dict:
    metric = pocket.load_pocket()
    xi3, xi4 = pocket.load_pocket_calibration()
    crops = read_crops(photos, size, count)

    def quality(image: Tensor) -> Tensor:
        return torch.sigmoid((metric(image) - xi3) / xi4)

    clean = [float(quality(as_tensor(crop))) for crop in crops]
    return {
        "pictures": len(crops),
        "size": size,
        "xi3": xi3,
        "xi4": xi4,
        "cpu_seconds_384": cost(metric),
        "clean": {"lowest": min(clean), "median": float(np.median(clean)), "highest": max(clean)},
        # Of the raw score: the logistic saturates in float32 before the ranks do.
        "srcc": {kind: rank_accuracy(metric, crops, kind) for kind in KINDS},
        "climbed_pictures": len(crops[:climbed]),
        "climbs": {name: climbs(quality, crops[:climbed], start) for name, start in STARTS.items()},
    }


def markdown(figures: dict) -> str:
    clean = figures["clean"]
    lines = [
        f"{figures['pictures']} pictures, {figures['size']} px crops; score and gradient at 384 px "
        f"{figures['cpu_seconds_384']:.2f} CPU s; q of clean crops {clean['lowest']:.2f} to "
        f"{clean['highest']:.2f}, median {clean['median']:.2f}.",
        "",
        "| kind | SRCC over 6 severities | gate | |",
        "|---|---|---|---|",
    ]
    for kind, gate in GATES.items():
        value = figures["srcc"][kind]
        lines.append(f"| {kind} | {value:.3f} | {gate} | {'pass' if value >= gate else 'FAIL'} |")
    lines += [
        "",
        f"{CLIMB_STEPS} steps of pixel ascent on {figures['climbed_pictures']} "
        f"pictures, each {STRIDE * 255:.1f} / 255 (root mean square):",
        "",
        "| start | q before | q after | PSNR before, dB | PSNR after, dB | cosine to clean |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in figures["climbs"].items():
        before = "-" if row["psnr"] is None else f"{row['psnr']:.1f}"
        cosine = "-" if row["cosine"] is None else f"{row['cosine']:.2f}"
        lines.append(
            f"| {name} | {row['q']:.2f} | {row['q_climbed']:.2f} | {before} | "
            f"{row['psnr_climbed']:.1f} | {cosine} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--size", type=int, default=288, help="centre crop in pixels")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--climbs", type=int, default=16, help="pictures to climb from")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = measure(options.photos, options.size, options.count, options.climbs)
    if options.json:
        save_json(options.json, figures)
    sys.stdout.write(markdown(figures) + "\n")


if __name__ == "__main__":
    main()
