"""Features of inputs, by which a selection is made diverse: D2 of Eq. (18)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..fidelity.catalog import VGG16
from ..fidelity.networks import VGG16_LAYERS, FeatureNetwork, load_weights
from ..files.pictures import read_picture
from ..files.weight_files import find_file, standard_folders
from ..files.written import write_atomically
from .preparation import Input

SIDE = 224  # short side that features are taken at
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
FLAT = 1e-4  # length of the edges of a picture that has none but rounding
LEVELS, DIRECTIONS, CELLS = 4, 8, 2
GREY = (0.299, 0.587, 0.114)

Extractor = Callable[[Tensor], Tensor]


def load_vgg16(device: str) -> Extractor:
    """VGG-16's last convolutions averaged over the picture: 512 numbers, none below 0.

    Raises: ValueError, with two remedies, where the file is missing or unusable.
    """
    path = find_file(VGG16, standard_folders())
    if path is None:
        raise ValueError(
            f"features 'vgg16' need the file {VGG16.name} ({VGG16.size_mb:.0f} MB), which is in "
            f"none of the folders {', '.join(map(str, standard_folders()))}: get it with "
            '`latent-map download-fidelity dists`, or write features = "colours_and_edges", '
            "which need no file, into [selection]"
        )
    weights = load_weights(path, VGG16_LAYERS, device)
    network = FeatureNetwork(VGG16_LAYERS, weights, partial(F.max_pool2d, kernel_size=2, stride=2))

    def extract(image: Tensor) -> Tensor:
        mean, spread = (image.new_tensor(row)[:, None, None] for row in (MEAN, SPREAD))
        return network((_shrunk(image) - mean) / spread)[-1].mean((2, 3))

    return extract


def load_colours_and_edges(device: str) -> Extractor:  # noqa: ARG001 - one of EXTRACTORS
    """Shares of 64 colours, and of 8 edge directions in each quarter: 96 numbers, none below 0.

    Not a network, and not the paper's: it tells green from grey and a wall from a meadow, and
    knows nothing of what they are.
    """
    return _colours_and_edges


EXTRACTORS: dict[str, Callable[[str], Extractor]] = {
    "vgg16": load_vgg16,
    "colours_and_edges": load_colours_and_edges,
}


def _shrunk(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    scale = SIDE / min(height, width)
    size = (max(SIDE, round(scale * height)), max(SIDE, round(scale * width)))
    return F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)


def _colours_and_edges(image: Tensor) -> Tensor:
    image = _shrunk(image)
    return torch.stack([torch.cat((_colours(item), _edges(item))) for item in image])


def _colours(image: Tensor) -> Tensor:
    """Shares of the pixels of (3, H, W) in each colour, (64,), of length 1."""
    red, green, blue = (image * LEVELS).long().clamp_max(LEVELS - 1).flatten(1)
    counts = torch.bincount((red * LEVELS + green) * LEVELS + blue, minlength=LEVELS**3)
    return F.normalize(counts.to(image), dim=0)


def _edges(image: Tensor) -> Tensor:
    """Strength of edges of (3, H, W) by direction, in each cell of the picture; of length 1."""
    grey = (image * image.new_tensor(GREY)[:, None, None]).sum(0)
    down, right = torch.gradient(grey)
    angle = torch.atan2(down, right) % torch.pi
    direction = (angle / torch.pi * DIRECTIONS).long().clamp_max(DIRECTIONS - 1)
    strength = F.one_hot(direction, DIRECTIONS).to(grey) * torch.hypot(down, right)[..., None]
    cells = F.adaptive_avg_pool2d(strength.permute(2, 0, 1)[None], CELLS)
    return F.normalize(cells.flatten(), dim=0, eps=FLAT)


def read_features(
    inputs: Iterable[Input], folder: Path, cache: Path, name: str, device: str
) -> np.ndarray:
    """Features of prepared pictures, (pictures, numbers); each is computed but once.

    Args:
        folder: of the prepared pictures.
        cache: folder in which they are kept by the pictures' content.
        name: one of EXTRACTORS.
    """
    place = cache / name
    place.mkdir(parents=True, exist_ok=True)
    extract: Extractor | None = None
    rows = []
    for each in inputs:
        kept = place / f"{each.sha256}.npy"
        row = _kept(kept)
        if row is None:
            extract = extract or EXTRACTORS[name](device)
            pixels = read_picture(folder / f"{each.picture}.png").pixels.to(device)
            with torch.no_grad():
                row = extract(pixels)[0].cpu().double().numpy()
            buffer = io.BytesIO()
            np.save(buffer, row)
            write_atomically(kept, buffer.getvalue())
        rows.append(row)
    return np.stack(rows)


def _kept(path: Path) -> np.ndarray | None:
    try:
        row = np.load(path, allow_pickle=False)
        return row if row.dtype == np.float64 and row.ndim == 1 and np.isfinite(row).all() else None
    except (OSError, ValueError, EOFError, MemoryError):  # of a damaged head, of any size
        return None


def diversity_of(features: np.ndarray) -> np.ndarray:
    """1 - cosine of each two rows, from 0 to 1 where no number is below 0."""
    lengths = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    unit = features / lengths
    return np.clip(1 - unit @ unit.T, 0, 2)
