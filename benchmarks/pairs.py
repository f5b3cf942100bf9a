"""Degraded photographs with their originals, and full-reference measures between them."""

import json
import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.degradations import randomly_degrade

from .photographs import as_tensor, central_crop, read_photograph

SEED = 240306406  # far from the training's seeds
# Better is: VIF higher, VSI higher, GMSD lower.
MEASURES = {"vif": 1, "vsi": 1, "gmsd": -1}


class Pair(NamedTuple):
    """A photograph and its degraded copy, each (1, 3, H, W) in [0, 1]."""

    name: str
    clean: Tensor
    degraded: Tensor
    severities: dict[str, float]


def degraded_pairs(files: list[Path], side: int, clean: float = 0.0) -> list[Pair]:
    """Centre crops of photographs with a random mixture of degradations each, always the same."""
    pairs = []
    for index, file in enumerate(files):
        photograph = read_photograph(file)
        crop = central_crop(photograph, *(min(side, size) for size in photograph.shape[:2]))
        degraded = randomly_degrade(crop, np.random.default_rng((SEED, index)), clean)
        pairs.append(
            Pair(file.stem, as_tensor(crop), as_tensor(degraded.pixels), degraded.severities)
        )
    return pairs


def measures(image: Tensor, reference: Tensor) -> dict[str, float]:
    """VIF, VSI and GMSD by piq, of (1, 3, H, W) pictures in [0, 1]."""
    import piq

    image, reference = image.float().clamp(0, 1), reference.float()
    return {
        "vif": float(piq.vif_p(image, reference)),
        "vsi": float(piq.vsi(image, reference)),
        "gmsd": float(piq.gmsd(image, reference)),
    }


def better(after: dict[str, float], before: dict[str, float]) -> dict[str, bool]:
    """Which measures are better after than before."""
    return {name: sign * (after[name] - before[name]) > 0 for name, sign in MEASURES.items()}


def machine() -> str:
    """The machine's processor and software, for reports."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else model
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def save_json(path: Path, content: object) -> None:
    """Write a result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
