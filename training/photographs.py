"""The training photographs in memory, and endless random crops of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

HELD_OUT = ("014", "027", "045", "066", "072")  # photograph numbers never trained on


def load_photographs(folder: Path, held_out: bool = False) -> list[np.ndarray]:
    """Read the crops PHOTO_CROP.webp of a folder as uint8 (H, W, 3), without or only with HELD_OUT.

    Raises: FileNotFoundError if the folder holds none.
    """
    files = sorted(folder.glob("*.webp"))
    chosen = [file for file in files if (file.name[:3] in HELD_OUT) == held_out]
    if not chosen:
        raise FileNotFoundError(f"no photographs *.webp in {folder}")
    return [np.asarray(Image.open(file).convert("RGB")) for file in chosen]


def random_crops(
    photographs: list[np.ndarray], size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield float32 crops in [0, 1] of size x size pixels, randomly flipped and turned."""
    large = [photograph for photograph in photographs if min(photograph.shape[:2]) >= size]
    while True:
        photograph = large[rng.integers(len(large))]
        top = rng.integers(photograph.shape[0] - size + 1)
        left = rng.integers(photograph.shape[1] - size + 1)
        crop = photograph[top : top + size, left : left + size]
        crop = np.rot90(crop, int(rng.integers(4)))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        yield crop.astype(np.float32) / 255


class RandomCrops(torch.utils.data.IterableDataset):
    """Endless items made of random crops, other ones in every worker; see `item`."""

    margin = 0  # pixels by which the crops are larger than `size`

    def __init__(self, photographs: list[np.ndarray], size: int, seed: int):
        self.photographs, self.size, self.seed = photographs, size, seed

    def __iter__(self) -> Iterator[Any]:
        worker = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        rng = np.random.default_rng((self.seed, worker.id if worker else 0))
        for crop in random_crops(self.photographs, self.size + self.margin, rng):
            yield self.item(np.ascontiguousarray(crop), rng)

    def item(self, crop: np.ndarray, rng: np.random.Generator) -> Any:
        """What is made of a crop (size + margin, size + margin, 3), float32 in [0, 1]."""
        raise NotImplementedError
