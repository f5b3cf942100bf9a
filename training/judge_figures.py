"""How well a judge's gradient leads home, and how well it ranks: the figures that decide.

    python -m training.judge_figures PHOTOS [--judge FILE] [--held-out]

Prints a Markdown table: for each kind of degradation the cosine between the score's gradient and
the way to the clean picture, and the rank correlation between score and faintness.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from latent_map.files.pictures import read_array
from latent_map.iqa_priors.correlation import srcc
from latent_map.iqa_priors.pocket import load_pocket
from torch import Tensor

from training.degradations import DEGRADATIONS, randomly_degrade
from training.judge_network import load_judge
from training.photographs import load_photographs
from training.unseen_degradations import UNSEEN

SEVERITIES = tuple(np.linspace(0, 1, 6))
MIXED = "mixed"
KINDS = (*DEGRADATIONS, MIXED, *UNSEEN)
GATES = {"blur": 0.9, "noise": 0.9, "downscale": 0.9, "jpeg": 0.75}  # SRCC
BATCH = 32

Metric = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Versions:
    """One photograph in all severities of one kind, (S, 3, H, W), and itself (1, 3, H, W)."""

    kind: str
    clean: Tensor
    degraded: Tensor


@dataclass(frozen=True)
class Figures:
    """Means over photographs of one kind.

    Attributes:
        cosine: between gradient and way home, over severities too.
        worst: mean over photographs at the severity where it is least.
        srcc: of score and faintness within a photograph; None for mixtures, which have no order.
        over_clean: share of versions that score less than their photograph.
    """

    cosine: float
    worst: float
    srcc: float | None
    over_clean: float


def central_crops(photographs: list[np.ndarray], size: int) -> list[np.ndarray]:
    """The middles of photographs, uint8 (H, W, 3), as float32 in [0, 1]."""
    crops = []
    for photograph in photographs:
        top, left = ((side - size) // 2 for side in photograph.shape[:2])
        if min(top, left) < 0:
            raise ValueError(
                f"a photograph of {photograph.shape[1]}x{photograph.shape[0]} pixels is smaller "
                f"than {size}: choose a smaller --size"
            )
        crops.append(photograph[top : top + size, left : left + size].astype(np.float32) / 255)
    return crops


def held_out_versions(
    crops: list[np.ndarray], severities: Sequence[float] = SEVERITIES
) -> list[Versions]:
    """Each crop in every kind and severity, always the same for the same crops."""
    versions = []
    for index, crop in enumerate(crops):
        for number, kind in enumerate(KINDS):
            pictures = []
            for severity in severities:
                rng = np.random.default_rng((7, index, number))
                if kind == MIXED:
                    draws = np.random.default_rng((8, index, round(100 * severity)))
                    pictures.append(randomly_degrade(crop, draws, clean=0).pixels)
                else:
                    one = {**DEGRADATIONS, **UNSEEN}[kind]
                    pictures.append(one(crop, float(severity), rng))
            degraded = torch.cat([_tensor(picture.clip(0, 1)) for picture in pictures])
            versions.append(Versions(kind, _tensor(crop), degraded))
    return versions


def judge_figures(
    metric: Metric, versions: list[Versions], device: torch.device | str = "cpu"
) -> dict[str, Figures]:
    """The figures of each kind: {kind: figures}."""
    degraded = torch.cat([v.degraded for v in versions]).to(device)
    clean = torch.cat([v.clean.expand_as(v.degraded) for v in versions]).to(device)
    scores, cosines, tops = [], [], []
    for part, home in zip(degraded.split(BATCH), clean.split(BATCH), strict=True):
        x = part.clone().requires_grad_()
        score = metric(x)
        (gradient,) = torch.autograd.grad(score.sum(), x)
        way = home - part
        cosines.append(torch.cosine_similarity(gradient.flatten(1), way.flatten(1), eps=1e-12))
        scores.append(score.detach())
        with torch.no_grad():
            tops.append(metric(home))
    count = len(versions[0].degraded)
    scores, cosines, tops = (torch.cat(x).cpu().view(-1, count) for x in (scores, cosines, tops))
    return {kind: _figures(kind, versions, scores, cosines, tops) for kind in KINDS}


def _figures(
    kind: str, versions: list[Versions], scores: Tensor, cosines: Tensor, tops: Tensor
) -> Figures:
    rows = torch.tensor([index for index, v in enumerate(versions) if v.kind == kind])
    scores, cosines, tops = scores[rows], cosines[rows], tops[rows]
    ranks = None
    if kind != MIXED:
        faintness = [-index for index in range(scores.shape[1])]
        ranks = float(np.mean([srcc(row.tolist(), faintness) for row in scores]))
    over = float((scores < tops).float().mean())
    return Figures(float(cosines.mean()), float(cosines.mean(0).min()), ranks, over)


def even_pictures(size: int = 128) -> Tensor:
    """Black, white and grey pictures, (3, 3, size, size)."""
    return torch.tensor((0.0, 1.0, 0.5))[:, None, None, None].expand(-1, 3, size, size).contiguous()


def markdown(figures: dict[str, Figures]) -> str:
    """A table of the figures."""
    lines = [
        "| kind | seen | cosine to clean | at its worst severity | SRCC | gate | clean above |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, row in figures.items():
        seen = "no" if kind in UNSEEN else "yes"
        ranks = "-" if row.srcc is None else f"{row.srcc:.3f}"
        gate = GATES.get(kind)
        passed = "" if gate is None else f"{gate} {'pass' if (row.srcc or 0) >= gate else 'FAIL'}"
        lines.append(
            f"| {kind} | {seen} | {row.cosine:.3f} | {row.worst:.3f} | {ranks} | {passed} | "
            f"{row.over_clean:.0%} |"
        )
    return "\n".join(lines)


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32).copy())[None]


def read_pictures(folder: Path) -> list[np.ndarray]:
    """All pictures of a folder by name, uint8 (H, W, 3).

    Raises: FileNotFoundError if it holds none.
    """
    endings = (".png", ".webp", ".jpg")
    files = [file for file in sorted(folder.iterdir()) if file.suffix in endings]
    if not files:
        raise FileNotFoundError(f"no pictures ({', '.join(endings)}) in {folder}")
    return [read_array(file) for file in files]


def spread(photographs: list[np.ndarray], count: int) -> list[np.ndarray]:
    """So many of the photographs, evenly from the first to the last."""
    places = np.linspace(0, len(photographs) - 1, min(count, len(photographs)))
    return [photographs[round(place)] for place in places]


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--held-out", action="store_true", help="only photographs never trained on")
    parser.add_argument("--judge", type=Path, help="trained weights; default: the shipped judge's")
    parser.add_argument("--size", type=int, default=192, help="centre crop in pixels")
    parser.add_argument("--count", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    metric = load_pocket() if options.judge is None else load_judge(options.judge)
    held_out = options.held_out
    pictures = load_photographs(options.photos, True) if held_out else read_pictures(options.photos)
    crops = central_crops(spread(pictures, options.count), options.size)
    figures = judge_figures(metric, held_out_versions(crops))
    even = metric(even_pictures()).tolist()
    clean = float(np.median([float(metric(_tensor(crop))) for crop in crops]))
    sys.stdout.write(
        f"{markdown(figures)}\n\nraw scores: clean {clean:.2f} (median), black, white, grey "
        f"{', '.join(f'{value:.2f}' for value in even)}\n"
    )


if __name__ == "__main__":
    main()
