"""D1 of Eq. (18): a full-reference measure between results, kept by their contents."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import torch
from torch import Tensor

from ..fidelity.loading import load_fidelity, missing_fidelity
from ..files.pictures import read_picture

# Those that are the same in both directions; the others are taken in both, and their mean.
SYMMETRIC = (
    *("dists", "lpips", "lpips_alex", "vae_features", "ms_ssim", "cw_ssim", "fsim", "vsi"),
    *("gmsd", "mcsd", "mse", "mae", "pamse", "nlpd", "low_resolution"),
)
COLUMNS = ("result_a", "result_b", "distance")  # the first two by the hash of their contents
WITHOUT_FILES = "ms_ssim"  # what is named where the measure's file is missing


class Distances:
    """Distances of results, each computed once for any two contents.

    Args:
        measure: of docs/fidelity.md.
        folder: where they are kept, in a table a measure; a row is added as soon as it is known.
        device: where they are computed.
    Raises: ValueError, with two remedies, where the measure's file is missing.
    """

    def __init__(self, measure: str, folder: Path, device: str) -> None:
        if missing := missing_fidelity(measure):
            raise ValueError(
                f"{missing}; or write measure = {WITHOUT_FILES!r}, which needs no file, into "
                "[selection]"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.measure, self.device = load_fidelity(measure, device), device
        self.table = folder / f"{measure}.csv"
        self.known = _read(self.table)
        _ready(self.table)

    def __call__(self, a: Path, hash_a: str, b: Path, hash_b: str) -> float:
        """The distance of two picture files, whose contents have these hashes."""
        if hash_a == hash_b:
            return 0.0
        key = (min(hash_a, hash_b), max(hash_a, hash_b))
        if key not in self.known:
            pictures = [read_picture(path).pixels.to(self.device) for path in (a, b)]
            self.known[key] = self._measured(*pictures)
            with self.table.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow((*key, repr(self.known[key])))
        return self.known[key]

    @torch.no_grad()
    def _measured(self, a: Tensor, b: Tensor) -> float:
        distance = float(self.measure(a, b))
        if self.measure.name not in SYMMETRIC:
            distance = (distance + float(self.measure(b, a))) / 2
        if not math.isfinite(distance):
            raise ValueError(f"measure {self.measure.name!r} gives {distance}: choose another")
        return distance


def _read(path: Path) -> dict[tuple[str, str], float]:
    """The rows of a table; one cut short, or that is none, is computed again."""
    known: dict[tuple[str, str], float] = {}
    if not path.exists():
        return known
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for line in file:
            words = line.rstrip("\n").split(",")
            if len(words) == 3 and line.endswith("\n") and len(words[0]) == len(words[1]) == 64:
                try:
                    value = float(words[2])
                except ValueError:
                    continue
                if math.isfinite(value):
                    known[words[0], words[1]] = value
    return known


def _ready(path: Path) -> None:
    """Name the columns of a new table; end a line that was cut short, before the next row."""
    content = path.read_bytes() if path.exists() else b""
    if not content:
        path.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    elif not content.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")
