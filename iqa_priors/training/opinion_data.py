"""Pictures with opinion scores: file lists, and batches of crops from several datasets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...files.reading import said
from ..clip.liqe import Pyramid


class Opinion(NamedTuple):
    """A picture file and its mean opinion score, higher is better."""

    path: Path
    score: float


@dataclass(frozen=True)
class Dataset:
    """One set of opinions on one scale.

    Attributes:
        name: for logs.
        train, validation: its pictures; scores are compared within the dataset only.
        batch: pictures of it in each training step.
    """

    name: str
    train: tuple[Opinion, ...]
    validation: tuple[Opinion, ...]
    batch: int


def read_opinions(file: Path, images: Path, falling: bool = False) -> tuple[Opinion, ...]:
    """Read a list of pictures and scores in the layout of LIQE's splits.

    Args:
        file: one picture a line: its path below `images`, a tab, its score; further columns
            (distortion, scenes) are passed over.
        images: the folder that the paths start from.
        falling: whether low scores mean good pictures, as for DMOS; they are negated then.
    Raises: ValueError naming the file and line of what cannot be read, or a missing picture.
    """
    opinions = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"cannot read the list {file} ({said(error)}): give a text file"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            name, text, *_ = line.split("\t")
            score = float(text)
        except ValueError:
            raise ValueError(
                f"{file}, line {number}: a path, a tab and a score are needed, found {line[:60]!r}"
            ) from None
        if not np.isfinite(score):
            raise ValueError(f"{file}, line {number}: the score {score} is not finite")
        opinions.append(Opinion(images / name, -score if falling else score))
    if len(opinions) < 2:
        raise ValueError(f"{file} lists {len(opinions)} pictures: at least 2 are needed to compare")
    missing = [opinion.path for opinion in opinions if not opinion.path.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(opinions)} pictures of {file} are missing, the first is "
            f"{missing[0]}: check the folder {images}"
        )
    return tuple(opinions)


def read_rgb(path: Path) -> Tensor:
    """A picture as (1, 3, H, W), float32 in [0, 1].

    Raises: ValueError naming a file that is no picture.
    """
    from ...files.pictures import read_picture

    return read_picture(path).pixels


def random_crops(
    image: Tensor, pyramid: Pyramid, count: int, side: int, rng: np.random.Generator
) -> Tensor:
    """Crops of a picture (1, 3, H, W), flipped at random, from its scales by turns.

    Returns: (count, 3, side, side).
    """
    image = image.flip(-1) if rng.random() < 0.5 else image
    levels = pyramid(image)
    crops = []
    for index in range(count):
        level = levels[index % len(levels)]
        top, left = (int(rng.integers(length - side + 1)) for length in level.shape[-2:])
        crops.append(level[0, :, top : top + side, left : left + side])
    return torch.stack(crops)


class Batch(NamedTuple):
    """One training step's pictures.

    Attributes:
        crops: (pictures, crops, 3, side, side).
        opinions: (pictures,).
        counts: pictures of each dataset, in order.
    """

    crops: Tensor
    opinions: Tensor
    counts: tuple[int, ...]


class EpochBatches(torch.utils.data.Dataset):
    """The batches of one epoch, each of them made by its number, whoever makes it.

    Every dataset goes through its pictures in a random order, again and again as need be.

    Args:
        datasets: each gives `batch` pictures to every step.
        steps: batches in the epoch.
        pyramid, crops, side: as for `random_crops`, per picture.
        seed: of the run and the epoch.
    """

    def __init__(
        self,
        datasets: tuple[Dataset, ...],
        steps: int,
        pyramid: Pyramid,
        crops: int,
        side: int,
        seed: tuple[int, int],
    ):
        self.datasets, self.steps, self.seed = datasets, steps, seed
        self.pyramid, self.crops, self.side = pyramid, crops, side
        rng = np.random.default_rng(seed)
        self.orders = []
        for dataset in datasets:
            rounds = -(-steps * dataset.batch // len(dataset.train))
            order = [rng.permutation(len(dataset.train)) for _ in range(rounds)]
            self.orders.append(np.concatenate(order))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        rng = np.random.default_rng((*self.seed, index))
        crops, opinions = [], []
        for dataset, order in zip(self.datasets, self.orders, strict=True):
            for number in order[index * dataset.batch : (index + 1) * dataset.batch]:
                opinion = dataset.train[number]
                image = read_rgb(opinion.path)
                crops.append(random_crops(image, self.pyramid, self.crops, self.side, rng))
                opinions.append(opinion.score)
        counts = tuple(dataset.batch for dataset in self.datasets)
        return Batch(torch.stack(crops), torch.tensor(opinions), counts)


def load_batches(batches: EpochBatches, workers: int, start: int = 0) -> Iterator[Any]:
    """The batches from number `start` on, made by `workers` processes beside this one, or here."""
    numbers = range(start, len(batches))
    loader = torch.utils.data.DataLoader(
        batches, batch_size=None, sampler=numbers, num_workers=workers
    )
    return iter(loader)
