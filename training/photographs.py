"""The training photographs in memory, and endless random crops of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from latent_map.files.pictures import SUFFIXES, read_array
from torch import Tensor

HELD_OUT = ("014", "027", "045", "066", "072")  # photograph numbers never trained on


def load_photographs(folder: Path, held_out: bool = False) -> list[np.ndarray]:
    """Read a folder's photographs as uint8 (H, W, 3), without or only with HELD_OUT.

    Raises: FileNotFoundError if the folder holds none.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    chosen = [file for file in files if (file.name[:3] in HELD_OUT) == held_out]
    if not chosen:
        named = f" whose names begin with {', '.join(HELD_OUT)}" if held_out else " to train on"
        raise FileNotFoundError(f"{folder} holds no photographs{named} ({', '.join(SUFFIXES)})")
    return [read_array(file) for file in chosen]


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


class CropBatches:
    """Batches of random crops of square photographs that are all kept on one device.

    Args:
        photographs: uint8 (H, W, 3); those that are not square are left out. Large ones are drawn
            more often.
        device: where.
    Raises: ValueError if none is square.
    """

    def __init__(self, photographs: list[np.ndarray], device: torch.device):
        by_side: dict[int, list[np.ndarray]] = {}
        for photograph in photographs:
            if photograph.shape[0] == photograph.shape[1]:
                by_side.setdefault(len(photograph), []).append(photograph)
        if not by_side:
            raise ValueError("no photograph is square: crop them to squares")
        stacks = (np.stack(same) for same in by_side.values())
        self.stacks = [torch.from_numpy(stack).to(device) for stack in stacks]
        self.smallest = min(by_side)
        self.shares = torch.tensor([len(s) * s.shape[1] ** 1.5 for s in self.stacks])

    def plain(self, count: int, size: int) -> Tensor:
        """Crops (count, 3, size, size) in [0, 1], in no order.

        Raises: ValueError if a photograph is smaller.
        """
        if size > self.smallest:
            raise ValueError(
                f"crops of {size} pixels do not fit into photographs of {self.smallest}: choose "
                "smaller crops, or leave those photographs out"
            )
        stacks = torch.multinomial(self.shares, count, replacement=True)
        counts = torch.bincount(stacks, minlength=len(self.stacks)).tolist()
        drawn = [_crops(s, n, size) for s, n in zip(self.stacks, counts, strict=True) if n]
        return torch.cat(drawn)[torch.randperm(count)]

    def varied(self, count: int, size: int) -> Tensor:
        """As `plain`, a third of them larger crops made smaller, all flipped and turned alike."""
        few = count // 3
        x = self.plain(count - few, size)
        if few:
            least = min(size + 16, self.smallest)
            larger = self.plain(few, int(torch.randint(least, self.smallest + 1, ())))
            smooth = {"mode": "bicubic", "antialias": True, "align_corners": False}
            x = torch.cat((x, F.interpolate(larger, size=(size, size), **smooth).clamp(0, 1)))
        if torch.rand(()) < 0.5:
            x = x.flip(-1)
        return torch.rot90(x, int(torch.randint(4, ())), (2, 3))


def vary_colours(x: Tensor) -> Tensor:
    """Photographs (B, 3, H, W) in [0, 1] as other cameras and editors would have them."""

    def normal(channels: int, deviation: float) -> Tensor:
        return deviation * torch.randn(len(x), channels, 1, 1, device=x.device)

    x = x.clamp_min(1e-4) ** normal(1, 0.22).exp() * (1 + normal(3, 0.06))
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * normal(1, 0.25).exp()
    colourless = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.04
    return torch.where(colourless, grey, x).clamp(0, 1)


def _crops(stack: Tensor, count: int, size: int) -> Tensor:
    """Random crops of a stack (n, side, side, 3) as (count, 3, size, size) in [0, 1]."""
    which = torch.randint(len(stack), (count,), device=stack.device)
    places = torch.randint(stack.shape[1] - size + 1, (2, count, 1), device=stack.device)
    rows, columns = places + torch.arange(size, device=stack.device)
    crops = stack[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return crops.permute(0, 3, 1, 2).float() / 255
